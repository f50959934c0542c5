"""`scotd judge new`, `serve`, `ask`, `results`: blind comparison of chains by people, and beside them a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scotd.cli.base import EXPERIMENT, SET, load, needs_torch, needs_web, quiet_libraries, say
from scotd.cli.terminal import safe
from scotd.errors import ConfigError

if TYPE_CHECKING:
    from scotd.judge.store import Study

STUDY = click.argument("study", type=click.Path(path_type=Path))
PORT = 8700


@click.command("new", short_help="Make a study of two sources.")
@STUDY
@click.option("--a", "a", required=True, metavar="SOURCE", help="One side; see below.")
@click.option("--b", "b", required=True, metavar="SOURCE", help="The other side.")
@click.option("--split", default="test", show_default=True, help="Questions of this split.")
@click.option(
    "--sample",
    "samples",
    multiple=True,
    type=click.Choice(["random", "both-right"]),
    help="Any questions, or those that both got right. Default: both samples.",
)
@click.option("--items", type=click.IntRange(min=1), help="So many items a sample, instead of a power calculation.")
@click.option("--detect", type=float, default=0.65, show_default=True, help="True win rate that is to be found.")
@click.option("--power", type=float, default=0.8, show_default=True, help="How surely it is to be found.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the test and the intervals.")
@click.option("--expected-ties", type=float, default=0.2, show_default=True, help="Share of items left undecided.")
@click.option("--ties/--no-ties", default=True, show_default=True, help="Whether a rater may say 'neither'.")
@click.option("--ask", help="The question to the raters, in your words.")
@click.option("--rubric", multiple=True, metavar="TEXT", help="A further question about the two; may be repeated.")
@click.option("--repeats", type=click.FloatRange(0, 0.5), default=0.0, help="Share of items shown twice to a rater.")
@click.option("--hide-answers", is_flag=True, help="Show the rationales without their answer statements.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the drawing and every order.")
def new(
    study: Path, a: str, b: str, split: str, samples: tuple[str, ...], ask: str | None, hide_answers: bool, **rest: Any
) -> None:
    """Make a STUDY file (say study.sqlite) in which people compare the chains of two SOURCES without knowing which is
    which. A source is

    \b
    runs/mine:scotd                      a student's greedy answers in a run folder
    runs/mine:scotd:vote                 its answers decoded otherwise
    chains.sqlite                        the teacher's chains in a corpus
    chains.sqlite:openai:gpt-4o          those of this teacher
    chains.sqlite@mine/scotd/correct     those that a selection kept
    """
    from scotd.judge.new import Wanted, described, new_study
    from scotd.judge.study import ASK, Sample

    chosen = tuple(Sample(name.replace("-", " ")) for name in dict.fromkeys(samples)) or tuple(Sample)
    wanted = Wanted(a=a, b=b, split=split, samples=chosen, ask=ask or ASK, answers_shown=not hide_answers, **rest)
    with new_study(study, wanted) as made:
        for line in described(made):
            click.echo(safe(line))
    click.echo(f"Study: {study}")


@click.command(short_help="Serve a study to its raters.")
@STUDY
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in, by token only.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--rater", "raters", multiple=True, metavar="NAME", help="Give this rater a link; may be repeated.")
@needs_web
def serve(study: Path, host: str, port: int, raters: tuple[str, ...]) -> None:
    """Serve a STUDY until Ctrl-C: one page an item, for any number of raters at once. On this machine a rater enters a
    name; where others reach it (--host), each comes by a link with a secret of their own. Plain HTTP: put a proxy with
    TLS in front of it on a network that you do not trust."""
    from scotd.judge.app import judging
    from scotd.judge.store import Study
    from scotd.web.serve import is_loopback
    from scotd.web.serve import serve as listen

    with Study.open(study) as opened:
        for name in raters:
            opened.enrol(name)
        alone = is_loopback(host)
        if not alone and not opened.raters():
            raise ConfigError(f"--host {host}: other machines are let in by a rater's link only: name --rater NAME.")
        listen(judging(opened, open_to_all=alone), host, port, lambda address: _links(opened, address, alone))


def _links(study: "Study", address: str, alone: bool) -> None:
    if alone:
        click.echo(f"Judging: {address} (Ctrl-C ends it)")
    else:
        say(f"Listening at {address} (Ctrl-C ends it). A link belongs to one rater; put this host's name in it:")
    for rater in study.raters():
        click.echo(safe(f"{rater.name}: {address}/r/{rater.token}"))


@click.command("results", short_help="Win rates, tests, agreement; HTML and JSON.")
@STUDY
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for results.html and .json.")
def results(study: Path, out: Path | None) -> None:
    """Write results.html and results.json of a STUDY, as its votes stand now; into a folder beside it by default."""
    from scotd.judge.page import verdict, write
    from scotd.judge.results import results as computed
    from scotd.judge.store import Study

    with Study.open(study) as opened:
        found = computed(opened)
    for sentence in verdict(found):
        click.echo(safe(sentence))
    click.echo(f"Results: {write(found, out or study.with_name(f'{study.stem}-results'))}")


@click.command("ask", short_help="Ask a language model too, in both orders.")
@STUDY
@EXPERIMENT
@SET
@click.option("--max-tokens", type=click.IntRange(min=8), default=96, show_default=True, help="Of one answer.")
@needs_torch
def ask(study: Path, experiment: Path, overrides: tuple[str, ...], max_tokens: int) -> None:
    """Ask a language model about every item of a STUDY, in both orders: the teacher of an EXPERIMENT file, or another
    by --set teacher.model=... What it says is reported beside the people's votes, never among them. The same command
    goes on where it was stopped."""
    settings = load(experiment, overrides)
    if settings.teacher.kind == "imported":
        raise ConfigError("teacher.kind: imported chains cannot be asked anything: name a local or an openai teacher.")
    from scotd.experiment.run import build_teacher
    from scotd.judge.model import ask as ask_model
    from scotd.judge.store import Study
    from scotd.progress import track

    quiet_libraries()
    with Study.open(study) as opened:
        teacher = build_teacher(settings, None, say=say, progress=track)
        came = ask_model(opened, teacher, chat=settings.prompt.chat, max_tokens=max_tokens, progress=track)
    failed = "".join(f", failed: {kind} {count}" for kind, count in came.failed.items())
    click.echo(safe(f"{teacher.name}: {came.received} answers, {came.there} were there{failed}"))
    if came.failed:
        say("The same command asks for the failed ones again.")


JUDGE = (new, serve, ask, results)
