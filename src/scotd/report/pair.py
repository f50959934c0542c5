"""Two students of any runs set against each other, question by question.

    for pair in compared("runs/quarel_chains:five", "runs/quarel_words:words"):
        print(pair.split, pair.against.difference)

A side is RUN:ROW, or RUN:STUDENT for one of a sweep's students, with or without its seed, and :DECODING behind it where
the answers are not the greedy ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scotd.errors import RunError, did_you_mean
from scotd.report.between import one_text, seed_pairs
from scotd.report.data import Against, Answer, Cell, Comparison, Value
from scotd.report.load import Run, load
from scotd.report.tables import common_questions, compare, comparison, right
from scotd.stats import Bootstrap

GREEDY = "greedy"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One seed of both sides, or one of one side against the only one of the other: how many questions each has right,
    and McNemar's exact test of the first against the second."""

    seeds: tuple[Value, Value]
    right: tuple[int, int]
    test: Comparison


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both sides on one split: each seed, and the mean difference over all of them."""

    split: str
    seeds: tuple[Seed, ...]
    against: Against


@dataclass(frozen=True, kw_only=True)
class _Side:
    named: str
    run: Run
    cells: tuple[Cell, ...]


def compared(first: str, second: str, *, split: str | None = None) -> list[Pair]:
    """Compare two sides on every split that both answered, or on one; intervals have the first run's confidence.

    Raises RunError where a side is none, or where they have no question in common.
    """
    a, b = _side(first, "1"), _side(second, "2")
    bootstrap = Bootstrap(a.run.experiment.evaluation.confidence)
    shared = [name for name in dict.fromkeys(cell.split for cell in a.cells) if split in (None, name)]
    found = [one for name in shared if (one := _on(name, a, b, bootstrap)) is not None]
    if not found:
        where = "" if split is None else f" on the split '{split}'"
        answered = [sorted({cell.split for cell in side.cells}) for side in (a, b)]
        raise RunError(
            f"{first} and {second} have no labelled question in common{where}: they answered "
            f"{', '.join(answered[0])} and {', '.join(answered[1])}."
        )
    return found


def _on(split: str, a: _Side, b: _Side, bootstrap: Bootstrap) -> Pair | None:
    mine: dict[Cell, Mapping[str, Answer]] = {
        cell: {key: row for key, row in a.run.predictions[cell].items() if one_text(a.run, b.run, key)}
        for cell in a.cells
    }
    answers = {**mine, **b.run.predictions}
    sides = [[cell for cell in side.cells if cell.split == split] for side in (a, b)]
    pairs = seed_pairs(*sides)
    against = (
        compare([(answers[one], answers[other]) for one, other in pairs], pairs[0][1], bootstrap) if pairs else None
    )
    if against is None:
        return None
    seeds = []
    for one, other in pairs:
        both = answers[one], answers[other]
        test = comparison(one, other, answers, bootstrap.confidence)
        assert test is not None  # what all pairs have in common this one has
        counts = right(both, common_questions(both)).sum(axis=1)
        seeds.append(Seed(seeds=(one.seed, other.seed), right=(int(counts[0]), int(counts[1])), test=test))
    return Pair(split=split, seeds=tuple(seeds), against=against)


def _side(named: str, label: str) -> _Side:
    end = named.rfind(":")
    while end > 0 and not Path(named[:end]).is_dir():
        end = named.rfind(":", 0, end)
    if end <= 0:
        raise RunError(f"{named}: no such run folder. Name a student as RUN_FOLDER:ROW or RUN_FOLDER:ROW:DECODING.")
    name, _, decoding = named[end + 1 :].partition(":")
    run = load(Path(named[:end]), label)
    decoding = decoding or GREEDY
    of_name = [cell for cell in run.predictions if name in (cell.row, *_names(cell))]
    if not of_name:
        known = {cell.row for cell in run.predictions}
        raise RunError(f"{named}: the run has no answers of a student '{name}'.{did_you_mean(name, known)}")
    cells = tuple(cell for cell in of_name if cell.decoding == decoding)
    if not cells:
        known = {cell.decoding for cell in of_name}
        raise RunError(f"{named}: '{name}' has no answers '{decoding}'.{did_you_mean(decoding, known)}")
    if len({cell.place for cell in cells}) > 1:
        students = dict.fromkeys(_names(cell)[-1] for cell in cells)
        raise RunError(f"{named}: '{name}' is a sweep: name one of its students ({', '.join(students)}).")
    return _Side(named=named, run=run, cells=cells)


def _names(cell: Cell) -> tuple[str, str]:
    """A student's own name, and that which its seeds have in common."""
    return cell.student, cell.student.removesuffix(f"-seed{cell.seed}")
