"""Two students of any runs set against each other, question by question; and two such pairs.

    for pair in compared("runs/quarel_chains:five", "runs/quarel_words:words").pairs:
        print(pair.split, pair.against.difference)
    gain = further("test", ("runs/sizes:scotd-1b", "runs/sizes:labels-1b"), ("runs/sizes:scotd", "runs/sizes:labels"))

A side is RUN:ROW, or RUN:STUDENT for one of a sweep's students, with or without its seed, and :DECODING behind it where
the answers are not the greedy ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scotd.errors import RunError, did_you_mean
from scotd.report.between import one_text, seed_pairs
from scotd.report.data import GREEDY, Against, Answer, Cell, Comparison, Predictions, Value
from scotd.report.load import Run, load
from scotd.report.read import taken_apart
from scotd.report.tables import common_questions, compare, comparison, right
from scotd.stats import Bootstrap, Difference


class Commonest(NamedTuple):
    """What a student answers most often, None where that is nothing readable, and to how many questions: one that has
    learnt no more than a letter is known by it."""

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
class Pair:
    """Both sides on one split: each seed, and the mean difference over all of them, on the questions that all answered.

    `alone` are seeds that one side has and the other has not.
    """

    split: str
    seeds: tuple[Seed, ...]
    against: Against
    alone: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Further:
    """By how much one pair's difference is greater than another's, on the questions that all four answered."""

    questions: int
    seeds: int
    difference: Difference


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


def compared(first: str, second: str, *, split: str | None = None) -> Compared:
    """Compare two sides on every split that both answered, or on one; intervals have the first run's confidence.

    Raises RunError where a side is none, or where there is nothing to compare.
    """
    a, b = _side(first, "1"), _side(second, "2")
    shared = [name for name in a.splits if name in b.splits]
    if not shared:
        raise RunError(
            f"{first} and {second} answered no split in common: {', '.join(a.splits)}; {', '.join(b.splits)}."
        )
    if split is not None and split not in shared:
        raise RunError(f"--split {split}: both answered {', '.join(shared)}.{did_you_mean(split, shared)}")
    bootstrap = Bootstrap(a.run.experiment.evaluation.confidence)
    found = [_on(name, a, b, bootstrap) for name in shared if split in (None, name)]
    pairs = tuple(pair for pair in found if pair is not None)
    if not pairs:
        raise RunError(f"{first} and {second} have no labelled question in common on {split or ', '.join(shared)}.")
    return Compared(pairs=pairs, confidence=bootstrap.confidence, notes=tuple(dict.fromkeys([*a.notes, *b.notes])))


def further(split: str, pair: tuple[str, str], other: tuple[str, str]) -> Further:
    """Compare the difference of a pair of sides with that of another pair: do larger students gain more from chains?

    Raises RunError where a side is none, or where the four have no labelled question or other numbers of seeds.
    """
    a, b, c, d = (_side(named, str(number)) for number, named in enumerate((*pair, *other), start=1))
    paired, others = _paired(split, a, b), _paired(split, c, d)
    if len(paired) != len(others) and 1 not in (len(paired), len(others)):
        raise RunError(
            f"{' and '.join(pair)} have {len(paired)} seeds on {split}, {' and '.join(other)} {len(others)}: name "
            "single students."
        )
    four = [
        [side.run.predictions[cell] for cell in cells]
        for side, cells in zip((a, b, c, d), (*zip(*paired, strict=True), *zip(*others, strict=True)), strict=True)
    ]
    keys = [
        key
        for key in common_questions([answers for side in four for answers in side])
        if all(one_text(a.run, side.run, key) for side in (b, c, d))
    ]
    if not keys:
        raise RunError(f"{', '.join((*pair, *other))} have no labelled question in common on {split}.")
    first, second, third, fourth = (right(side, keys) for side in four)
    bootstrap = Bootstrap(a.run.experiment.evaluation.confidence)
    return Further(
        questions=len(keys),
        seeds=max(len(paired), len(others)),
        difference=bootstrap.difference(first - second, third - fourth),
    )


def _paired(split: str, a: _Side, b: _Side) -> list[tuple[Cell, Cell]]:
    """The cells of both on a split, by seed. Raises RunError where one has none there, or without a seed in common."""
    mine, its = a.on(split), b.on(split)
    if not mine or not its:
        raise RunError(f"Not all of them answered {split}.")
    paired = seed_pairs(mine, its)
    if not paired:
        seeds = "; ".join(", ".join(str(cell.seed) for cell in cells) for cells in (mine, its))
        raise RunError(
            f"No seed in common on {split}: {seeds}. Name single students, for instance {mine[0].student} and "
            f"{its[0].student}."
        )
    return paired


def _on(split: str, a: _Side, b: _Side, bootstrap: Bootstrap) -> Pair | None:
    """Both on one split; None without a labelled question in common. Raises RunError without a seed in common."""
    mine, its, paired = a.on(split), b.on(split), _paired(split, a, b)
    every = {**a.run.predictions, **b.run.predictions}
    keys = [
        key
        for key in common_questions([every[cell] for pair in paired for cell in pair])
        if one_text(a.run, b.run, key)
    ]
    answers = {cell: {key: every[cell][key] for key in keys} for pair in paired for cell in pair}
    against = compare([(answers[one], answers[other]) for one, other in paired], paired[0][1], bootstrap)
    if against is None:
        return None
    return Pair(
        split=split,
        seeds=tuple(_seed(one, other, answers, keys, bootstrap.confidence) for one, other in paired),
        against=against,
        alone=tuple(cell.seed for cell in (*mine, *its) if all(cell not in pair for pair in paired)),
    )


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
    ((answer, times),) = Counter(answers[key].answer for key in keys).most_common(1)
    return Commonest(answer, times)


def _side(named: str, label: str) -> _Side:
    found = taken_apart(named)
    if found is None or not found[1]:
        raise RunError(f"{named}: no such run folder. Name a student as RUN_FOLDER:ROW or RUN_FOLDER:ROW:DECODING.")
    name, _, decoding = found[2].partition(":")
    run = load(found[0], label)
    expected = [cell for cell in run.cells if name in (cell.row, *_names(cell))]
    if not expected:
        known = dict.fromkeys(name for cell in run.cells for name in (cell.row, *_names(cell)))
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
        students = dict.fromkeys(_names(cell)[-1] for cell in cells)
        raise RunError(f"{named}: '{name}' is a sweep: name one of its students ({', '.join(students)}).")
    return _Side(run=run, cells=cells)


def _names(cell: Cell) -> tuple[str, str]:
    """A student's own name, and that which its seeds have in common."""
    return cell.student, cell.student.replace(f"-seed{cell.seed}", "", 1)
