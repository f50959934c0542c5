"""Run folders -> Report: every number that the page shows, and every sentence.

    report = collect(Path("runs/quickstart"))

With several folders the page is about all of them, side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scotd.errors import RunError
from scotd.report import verdict
from scotd.report.between import BetweenRuns, Setting, alone, between, settings
from scotd.report.contrast import Contrast, contrasts
from scotd.report.data import SplitTable
from scotd.report.load import Run, RunPart, load
from scotd.report.published import Published, published
from scotd.report.tables import tables as make_tables
from scotd.report.votes import VoteCurve, vote_curves
from scotd.stats import Bootstrap


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything on the page, from top to bottom.

    `baseline` is the row that others are tested against, "the baseline" where runs differ in it, None where none has
    one. Curves over votes and contrast sets stand by split; `between`, `alone` and `differing` are about several runs.
    """

    name: str
    verdict: tuple[str, ...]
    limits: tuple[str, ...]
    baseline: str | None
    confidence: float
    resamples: int
    tables: tuple[SplitTable, ...]
    votes: tuple[tuple[str, tuple[VoteCurve, ...]], ...]
    contrasts: tuple[tuple[str, tuple[Contrast, ...]], ...]
    between: tuple[tuple[str, tuple[BetweenRuns, ...]], ...]
    alone: tuple[str, ...]
    differing: tuple[Setting, ...]
    published: tuple[Published, ...]
    runs: tuple[RunPart, ...]
    sources: tuple[Run, ...]
    notes: tuple[str, ...]

    @property
    def swept(self) -> bool:
        """Whether the arms are shown before the single rows: with sweeps, seeds or several runs."""
        return len(self.runs) > 1 or any(table.swept for table in self.tables)


def collect(*folders: Path, baseline: str | None = None) -> Report:
    """Gather everything that the report of one run, or of several, shows, against `baseline` where it is given instead
    of the configured row. Raises RunError for any other folder, and where a run has no such row."""
    labels = _labels(folders) if len(folders) > 1 else [""]
    runs = {label: load(folder, label, baseline) for label, folder in zip(labels, folders, strict=True)}
    first = next(iter(runs.values())).experiment
    bootstrap = Bootstrap(first.evaluation.confidence)
    tables = make_tables([*runs.values()], bootstrap)
    predictions = {cell: answers for run in runs.values() for cell, answers in run.predictions.items()}
    votes = [(table.split, vote_curves(table, predictions, bootstrap)) for table in tables]
    pairs = [(table.split, contrasts(table, runs, bootstrap)) for table in tables]
    beside = [published(run, label, tables) for label, run in runs.items()]
    notes = [run.experiment.note for run in runs.values() if run.experiment.note is not None]
    baselines = {run.experiment.evaluation.baseline for run in runs.values()} - {None}
    return Report(
        name=", ".join(labels) if len(runs) > 1 else first.name,
        verdict=verdict.verdict(tables, bootstrap.confidence),
        limits=(*dict.fromkeys(notes), *verdict.limits(tables, bootstrap.confidence)),
        baseline=baselines.pop() if len(baselines) == 1 else "the baseline" if baselines else None,
        confidence=bootstrap.confidence,
        resamples=bootstrap.resamples,
        tables=tables,
        votes=tuple((split, curves) for split, curves in votes if curves),
        contrasts=tuple((split, rows) for split, rows in pairs if rows),
        between=tuple((table.split, found) for table in tables if (found := between(table, runs, bootstrap))),
        alone=alone(tables) if len(runs) > 1 else (),
        differing=settings([*runs.values()]),
        published=tuple(one for one in beside if one is not None),
        runs=tuple(run.part for run in runs.values()),
        sources=tuple(runs.values()),
        notes=tuple(_notes(runs)),
    )


def _notes(runs: dict[str, Run]) -> list[str]:
    notes = [f"{label}: {note}" if label else note for label, run in runs.items() for note in run.part.notes]
    if len({run.experiment.evaluation.confidence for run in runs.values()}) > 1:
        notes.append("The runs name different confidences: all intervals here are of the first one's.")
    return notes


def _labels(folders: Sequence[Path]) -> list[str]:
    """Name the runs by their folders, with as many of the folders above as it takes to tell them apart."""
    paths = [folder.resolve() for folder in folders]
    repeated = next((path for path in paths if paths.count(path) > 1), None)
    if repeated is not None:
        raise RunError(f"{repeated} is given twice: a report sets different runs side by side.")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]
