"""`scotd run`, `scotd sample`, `scotd report`, `scotd compare`, `scotd pack`."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scotd.cli.base import (
    EXPERIMENT,
    LIMIT,
    SCALE,
    SET,
    load,
    needs_torch,
    processes,
    quiet_libraries,
    refuse_placeholders,
    require_local,
    say,
)
from scotd.cli.terminal import safe
from scotd.errors import ScotdError

if TYPE_CHECKING:
    from scotd.config import Experiment
    from scotd.experiment import Cell
    from scotd.experiment.run import Show
    from scotd.report.pair import Compared
    from scotd.stats import Difference


@click.command(short_help="Sample, select, train, evaluate, report; resumes.")
@EXPERIMENT
@SET
@LIMIT
@SCALE
@click.option("--dry-run", is_flag=True, help="Say what would be asked, trained and answered, and stop.")
@click.option("--fresh", is_flag=True, help="Ask for every chain: no import_chains, and a corpus of its own.")
@click.option(
    "--until",
    type=click.Choice(["sample", "select", "train", "evaluate", "report"]),
    default="report",
    show_default=True,
    help="Last stage to go through.",
)
@needs_torch
def run(
    experiment: Path,
    overrides: tuple[str, ...],
    limit: int | None,
    scale: str | None,
    dry_run: bool,
    fresh: bool,
    until: str,
) -> None:
    """Go through all stages of an EXPERIMENT file; each is skipped when done and resumes when interrupted.

    Under torchrun or accelerate launch all processes train, and the first does everything else.
    """
    rank, count = processes()
    if rank > 0:
        _follow(dry_run)
        return
    settings = load(experiment, overrides, limit, scale)
    from scotd.experiment import Plan, accuracy_line, afresh, describe
    from scotd.experiment import run as run_experiment

    if dry_run:
        for line in describe(Plan.of(afresh(settings) if fresh else settings)):
            click.echo(safe(line))
        _warn_of_placeholders(settings)
        return
    refuse_placeholders(settings)
    if until in ("train", "evaluate", "report"):
        require_local()  # told now, not after the chains were paid for
    quiet_libraries()
    go = partial(run_experiment, settings, until="evaluate" if until == "report" else until, fresh=fresh)
    with _leading(count):
        if sys.stderr.isatty():
            from scotd.cli.board import Board

            with Board(sys.stderr) as board:
                outcome = go(say=board.say, show=board.show, progress=board.track)
        else:
            outcome = go(say=say, show=_lines())
    if not (sys.stderr.isatty() and sys.stdout.isatty()):  # they stand on this terminal already
        for cell in outcome.cells:
            click.echo(accuracy_line(cell))
    if until == "report":
        from scotd.report import write_report

        click.echo(f"Report: {write_report(outcome.folder)}")
    else:
        click.echo(f"Results: {outcome.folder}")


@click.command(short_help="Only ask the teacher for missing chains.")
@EXPERIMENT
@SET
@LIMIT
@SCALE
@click.option("--dry-run", is_flag=True, help="Say what would be asked and what it would cost, and stop.")
@needs_torch
def sample(experiment: Path, overrides: tuple[str, ...], limit: int | None, scale: str | None, dry_run: bool) -> None:
    """Only ask the teacher for the chains that EXPERIMENT lacks (the same as run --until sample)."""
    settings = load(experiment, overrides, limit, scale)
    from scotd.experiment import Plan
    from scotd.experiment import run as run_experiment

    if settings.teacher.kind == "local":
        quiet_libraries()
    if dry_run:
        from scotd.experiment.estimate import estimate

        for line in estimate(Plan.of(settings)).lines():
            click.echo(safe(line))
        _warn_of_placeholders(settings)
        return
    refuse_placeholders(settings)
    run_experiment(settings, until="sample", say=say)
    click.echo(f"Corpus: {settings.corpus}")


@click.command(short_help="Write the HTML report of one run folder or several.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for report.html, results.md, summary.json. Default: the run folder; for several, `report` beside the "
    "first of them.",
)
@click.option(
    "--baseline",
    metavar="ROW",
    help="Test all others against this row of students, or one of a sweep's, instead of evaluation.baseline. Written "
    "into `against-ROW` of the run folder, unless --out says otherwise: the run's own report stays.",
)
def report(folders: tuple[Path, ...], out: Path | None, baseline: str | None) -> None:
    """Write the HTML report of a finished or half-finished run folder; of several FOLDERS one page about all of them,
    side by side. What `scotd pack` made of a run folder is one too."""
    from scotd.report import write_report

    click.echo(f"Report: {write_report(*folders, out=out, baseline=baseline)}")


@click.command(short_help="Set two students of any runs against each other.")
@click.argument("first", metavar="RUN:STUDENT")
@click.argument("second", metavar="RUN:STUDENT")
@click.option("--split", help="On this split alone; otherwise on each that both answered.")
@click.option(
    "--over",
    nargs=2,
    metavar="RUN:STUDENT RUN:STUDENT",
    help="Say also by how much this difference is greater than that of two others.",
)
def compare(first: str, second: str, split: str | None, over: tuple[str, str] | None) -> None:
    """Set two students against each other, question by question, whatever runs they are of.

    A student is named by its run folder, or what `scotd pack` made of it, and its row, over all seeds, or its own
    name; its greedy answers are taken unless a decoding is named behind it. On a contrast set it is said as well who
    has both of a question and its change right, and whether the first leads by more on the changes. Intervals have the
    confidence of the first run:

    \b
    scotd compare runs/quarel_chains:five runs/quarel_words:words
    scotd compare runs/mine:scotd:vote runs/mine:scotd --split test
    scotd compare runs/s:big runs/s:big-labels --over runs/s:small runs/s:small-labels
    """
    from scotd.report.pair import compared

    found = compared(first, second, split=split, over=over)
    for note in found.notes:
        say(f"note: {note}")
    for pair in found.pairs:
        click.echo(safe(f"{pair.split}: {pair.against.pairs:,} labelled questions that both answered"))
        for seed in pair.seeds:
            names = " : ".join("no seed" if name is None else f"seed {name}" for name in dict.fromkeys(seed.seeds))
            test = seed.test
            most = [
                f"{'nothing readable' if answer is None else repr(answer)} ({times:,} of {pair.against.pairs:,})"
                for answer, times in seed.commonest
            ]
            click.echo(
                safe(
                    f"  {names}: right {seed.right[0]:,} : {seed.right[1]:,}; only the first right : only the second "
                    f"{test.only_this:,} : {test.only_baseline:,}, exact McNemar p = {test.p:.2g}; commonest answer "
                    f"{' : '.join(most)}"
                )
            )
        if pair.alone:
            click.echo(f"  left out, as one of them alone has it: {', '.join(f'seed {seed}' for seed in pair.alone)}")
        click.echo(f"  the first over the second: {_difference(pair.against.difference, found, len(pair.seeds))}")
        if pair.further is not None:
            own, other = (f"{100 * mean:+.1f}" for mean in pair.further.means)
            click.echo(
                f"  that over the other pair's, {own} and {other} on the {pair.further.questions:,} labelled questions "
                f"that all four answered: {_difference(pair.further.difference, found, pair.further.seeds)}"
            )
        if pair.changed is not None:
            one, two = (f"{100 * share:.1f} %" for share in pair.changed.shares)
            on_changes, on_originals = (f"{100 * lead:+.1f}" for lead in pair.changed.leads)
            click.echo(
                f"  right on both of {pair.changed.pairs:,} pairs of a question and its change {one} : {two}, "
                f"{_difference(pair.changed.consistent, found, len(pair.seeds), of='pairs')}"
            )
            click.echo(
                f"  the first's lead on the changes over that on the originals, {on_changes} and {on_originals}: "
                f"{_difference(pair.changed.further, found, len(pair.seeds), of='pairs')}"
            )


def _difference(found: "Difference", compared: "Compared", seeds: int, of: str = "questions") -> str:
    mean, (low, high), p = found
    drawn = of if seeds == 1 else f"{of} and {seeds} seeds"
    return (
        f"{100 * mean:+.1f} points ({100 * compared.confidence:g} %: {100 * low:.1f} to {100 * high:.1f}), "
        f"p = {p:.2g}, bootstrap over {drawn}"
    )


@click.command(short_help="Put a run's results into one small file.")
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file. Default: RUN.zip beside the first run folder.",
)
@click.option("--texts", is_flag=True, help="With what the students wrote, and not their answers alone.")
def pack(folders: tuple[Path, ...], out: Path | None, texts: bool) -> None:
    """Put what a report needs of a RUN folder into one small file, to send or to publish.

    It holds the configuration, the counts and every answer with its gold label; no question, no chain of the
    teacher's, no weights and no path of this machine. Report and compare take it in place of the folder. Several runs
    of one experiment become one: seeds that were trained on several machines.

    \b
    scotd pack runs/mine --out mine.zip
    scotd pack mine.zip runs/mine --out mine.zip          # the seeds of today beside those of yesterday
    scotd compare mine.zip:scotd runs/other:labels
    """
    from scotd.report.pack import pack as write

    first = folders[0].resolve()
    out = out or first.with_name(f"{first.name}.zip")
    for note in write(folders, out, texts=texts):
        say(f"note: {note}")
    click.echo(f"Packed: {out} ({out.stat().st_size / 1000:,.0f} kB)")


def _follow(dry_run: bool) -> None:
    """One of several processes, not the first: it trains when told to, and says nothing."""
    if dry_run:
        return
    require_local()
    quiet_libraries()
    from scotd.experiment.ranks import follow

    follow()


def _leading(count: int) -> AbstractContextManager[None]:
    if count == 1:
        return nullcontext()
    require_local()
    from scotd.experiment.ranks import leading

    return leading()


def _lines() -> "Show":
    """A line for each cell when it is done."""
    from scotd.experiment import accuracy_line

    told: set[tuple[str, str, str]] = set()

    def show(cells: "Sequence[Cell]") -> None:
        for cell in cells:
            place = cell.student, cell.split, cell.decoding
            if cell.done and place not in told:
                told.add(place)
                say(accuracy_line(cell))

    return show


def _warn_of_placeholders(settings: "Experiment") -> None:
    try:
        refuse_placeholders(settings)
    except ScotdError as error:
        say(f"note: {error}")
