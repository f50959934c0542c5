"""Two students of any runs set against each other, question by question; and two such pairs.

    for pair in compared("runs/quarel_chains:five", "runs/quarel_words:words").pairs:
        print(pair.split, pair.against.difference)
    compared("runs/sizes:scotd-1b", "runs/sizes:labels-1b", over=("runs/sizes:scotd", "runs/sizes:labels"))

A side is RUN:ROW, or RUN:STUDENT for one of a sweep's students, with or without its seed, and :DECODING behind it where
the answers are not the greedy ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scotd.errors import RunError, did_you_mean
from scotd.report.between import one_text, seed_pairs
from scotd.report.contrast import changes, everywhere, right_on
from scotd.report.data import GREEDY, Against, Answer, Cell, Comparison, Predictions, Value
from scotd.report.load import Run, load
from scotd.report.read import taken_apart
from scotd.report.tables import common_questions, compare, comparison, right
from scotd.stats import Bootstrap, Difference


class Commonest(NamedTuple):
    """What a student answers most often, None where that is nothing readable, and to how many questions: one that has
    learnt no more than a letter is known by it. Of equals the first by name."""

    answer: str | None
    times: int


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One seed of both sides, or one of one side against the only one of the other: how many questions each has right,
    what each answers most often, and McNemar's exact test of the first against the second."""

    seeds: tuple[Value, Value]
    right: tuple[int, int]
    commonest: tuple[Commonest, Commonest]
    test: Comparison


@dataclass(frozen=True, kw_only=True)
class Further:
    """By how much the difference of one pair is greater than that of another, over the questions that all four sides
    answered and the seeds that all have; `means` are the two differences themselves, there."""

    questions: int
    seeds: int
    means: tuple[float, float]
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Both sides on a contrast set, over `pairs` of a question and its change (paper 3.4): which share of them each has
    right on both, `consistent`, that of the first less that of the second, and by how much the first leads more on the
    changes than on the originals, `further`; `leads` are the two leads themselves, on the changes and the originals.

    Pairs are resampled as if each were of a question of its own: several changes of one question make intervals too
    narrow.
    """

    pairs: int
    shares: tuple[float, float]
    consistent: Difference
    leads: tuple[float, float]
    further: Difference


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both sides on one split: each seed, and the mean difference over all of them, on the questions that all answered.

    `alone` are seeds that one side has and the other has not; `further` is there where another pair was named,
    `changed` where the questions are changes of others that both answered.
    """

    split: str
    seeds: tuple[Seed, ...]
    against: Against
    alone: tuple[Value, ...]
    changed: Changed | None = None
    further: Further | None = None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A pair for each split. `confidence` is that of the intervals, `notes` say which answers could not be read."""

    pairs: tuple[Pair, ...]
    confidence: float
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Side:
    run: Run
    cells: tuple[Cell, ...]

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(cell.split for cell in self.cells))

    def on(self, split: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.split == split]

    @property
    def notes(self) -> list[str]:
        """What reading the run noted of these students' answers."""
        files = tuple(f"predictions/{cell.student}." for cell in self.cells)
        return [note for note in self.run.part.notes if note.startswith(files)]


def compared(first: str, second: str, *, split: str | None = None, over: tuple[str, str] | None = None) -> Compared:
    """Compare two sides on every split that both answered, or on one; intervals have the first run's confidence.

    With `over`, two sides more, their difference is set against the first two's: do larger students gain more from
    chains? Then splits are those that all four answered. Raises RunError where a side is none, or where there is
    nothing to compare.
    """
    named = (first, second, *(over or ()))
    sides = [_side(name, str(number)) for number, name in enumerate(named, start=1)]
    shared = [name for name in sides[0].splits if all(name in one.splits for one in sides)]
    if not shared:
        answered = "; ".join(", ".join(one.splits) for one in sides)
        raise RunError(f"{' and '.join(named)} answered no split in common: {answered}.")
    if split is not None and split not in shared:
        both = "both" if over is None else "all four"
        raise RunError(f"--split {split}: {both} answered {', '.join(shared)}.{did_you_mean(split, shared)}")
    bootstrap = Bootstrap(sides[0].run.experiment.evaluation.confidence)
    found = [_on(name, sides[0], sides[1], bootstrap) for name in shared if split in (None, name)]
    pairs = [pair for pair in found if pair is not None]
    if not pairs:
        raise RunError(f"{first} and {second} have no labelled question in common on {split or ', '.join(shared)}.")
    if over is not None:
        pairs = [replace(pair, further=_further(pair.split, sides, bootstrap)) for pair in pairs]
    return Compared(
        pairs=tuple(pairs),
        confidence=bootstrap.confidence,
        notes=tuple(dict.fromkeys(note for one in sides for note in one.notes)),
    )


def _further(split: str, sides: Sequence[_Side], bootstrap: Bootstrap) -> Further:
    """The difference of the first two sides over that of the last two. Raises RunError where the four have no question
    or no seed in common."""
    met = seed_pairs(*(one.on(split) for one in sides))
    if not met:
        raise RunError(f"The four have no seed in common on {split}: name single students.")
    keys = _common(sides, met)
    if not keys:
        raise RunError(f"The four have no labelled question in common on {split}.")
    first, second, third, fourth = (
        right([one.run.predictions[cell] for cell in cells], keys)
        for one, cells in zip(sides, zip(*met, strict=True), strict=True)
    )
    means, difference = _against(first - second, third - fourth, bootstrap)
    return Further(questions=len(keys), seeds=len(met), means=means, difference=difference)


def _against(
    one: NDArray[np.float64], other: NDArray[np.float64], bootstrap: Bootstrap
) -> tuple[tuple[float, float], Difference]:
    """Two means, and the first less the second; [seeds, questions] each."""
    return (float(one.mean()), float(other.mean())), bootstrap.difference(one, other)


def _common(sides: Sequence[_Side], met: Sequence[tuple[Cell, ...]]) -> list[str]:
    """The questions that every cell answered, one of each side in each of `met`, and that read alike in all runs."""
    answers = [one.run.predictions[cell] for cells in met for one, cell in zip(sides, cells, strict=True)]
    first, *others = sides
    return [key for key in common_questions(answers) if all(one_text(first.run, one.run, key) for one in others)]


def _on(split: str, a: _Side, b: _Side, bootstrap: Bootstrap) -> Pair | None:
    """Both on one split; None without a labelled question in common. Raises RunError without a seed in common."""
    mine, its = a.on(split), b.on(split)
    paired = seed_pairs(mine, its)
    if not paired:
        seeds = "; ".join(", ".join(str(cell.seed) for cell in cells) for cells in (mine, its))
        raise RunError(
            f"No seed in common on {split}: {seeds}. Name single students, for instance {mine[0].student} and "
            f"{its[0].student}."
        )
    every = {**a.run.predictions, **b.run.predictions}
    keys = _common((a, b), paired)
    answers = {cell: {key: every[cell][key] for key in keys} for pair in paired for cell in pair}
    against = compare([(answers[one], answers[other]) for one, other in paired], paired[0][1], bootstrap)
    if against is None:
        return None
    return Pair(
        split=split,
        seeds=tuple(_seed(one, other, answers, keys, bootstrap.confidence) for one, other in paired),
        against=against,
        alone=tuple(cell.seed for cell in (*mine, *its) if all(cell not in pair for pair in paired)),
        changed=_changed(a, b, paired, keys, bootstrap),
    )


def _changed(
    a: _Side, b: _Side, paired: Sequence[tuple[Cell, ...]], keys: Sequence[str], bootstrap: Bootstrap
) -> Changed | None:
    """Both on pairs of a question and its change; None where there are none."""
    mine = [everywhere(a.run, one) for one, _ in paired]
    its = [everywhere(b.run, other) for _, other in paired]
    forms = {**a.run.forms, **{key: form for key, form in b.run.forms.items() if form.original is not None}}
    met = [pair for pair in changes(keys, forms, [*mine, *its]) if one_text(a.run, b.run, pair[1])]
    if not met:
        return None
    first, second = right_on(mine, met), right_on(its, met)
    shares, consistent = _against(first.both, second.both, bootstrap)
    leads, further = _against(first.changed - second.changed, first.original - second.original, bootstrap)
    return Changed(pairs=len(met), shares=shares, consistent=consistent, leads=leads, further=further)


def _seed(one: Cell, other: Cell, answers: Predictions, keys: Sequence[str], confidence: float) -> Seed:
    test = comparison(one, other, answers, confidence)
    assert test is not None  # there are keys
    mine, its = right([answers[one], answers[other]], keys).sum(axis=1)
    return Seed(
        seeds=(one.seed, other.seed),
        right=(int(mine), int(its)),
        commonest=(_commonest(answers[one], keys), _commonest(answers[other], keys)),
        test=test,
    )


def _commonest(answers: Mapping[str, Answer], keys: Sequence[str]) -> Commonest:
    times = Counter(answers[key].answer for key in keys)
    answer = min(times, key=lambda one: (-times[one], one or ""))
    return Commonest(answer, times[answer])


def _side(named: str, label: str) -> _Side:
    found = taken_apart(named)
    if found is None or not found[1]:
        raise RunError(f"{named}: no such run folder. Name a student as RUN_FOLDER:ROW or RUN_FOLDER:ROW:DECODING.")
    name, _, decoding = found[2].partition(":")
    run = load(found[0], label)
    expected = [cell for cell in run.cells if name in (cell.row, *_names(run, cell))]
    if not expected:
        known = dict.fromkeys(name for cell in run.cells for name in (cell.row, *_names(run, cell)))
        raise RunError(f"{named}: the run has no student '{name}'.{did_you_mean(name, known)}")
    answered = [cell for cell in expected if cell in run.predictions]
    if not answered:
        raise RunError(f"{named}: '{name}' has not answered yet; `scotd run` goes on with the run.")
    decoding = decoding or GREEDY
    cells = tuple(cell for cell in answered if cell.decoding == decoding)
    if not cells:
        ways = dict.fromkeys(cell.decoding for cell in answered)
        raise RunError(f"{named}: '{name}' has no answers '{decoding}'.{did_you_mean(decoding, ways)}")
    if len({cell.place for cell in cells}) > 1:
        students = dict.fromkeys(run.experiment.arm_of(cell.student) for cell in cells)
        raise RunError(f"{named}: '{name}' is a sweep: name one of its students ({', '.join(students)}).")
    return _Side(run=run, cells=cells)


def _names(run: Run, cell: Cell) -> tuple[str, str]:
    """A student's own name, and that which its seeds have in common."""
    return cell.student, run.experiment.arm_of(cell.student)
