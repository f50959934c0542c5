"""What students answered, and the numbers made of it, as plain values.

A *cell* is one student on one split, decoded one way; an *arm* is a row of the experiment at one place on its axes, on
one split, decoded one way: one cell for every seed. Texts are raw here, just as a model or a user wrote them; making
them harmless is the business of `render.py`, `markdown.py` and `summary.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from scotd.stats import Difference, Interval
from scotd.types import Mark, Target

GREEDY = "greedy"  # the decoding that is meant where none is named

Value = str | int | float | bool | None
Place = tuple[tuple[str, Value], ...]  # the value on each axis of a sweep, seeds aside


class Why(StrEnum):
    """Why a question is among the shown ones; the order is the order of preference."""

    DISAGREE = "students disagree"
    ALL_WRONG = "no student right"
    ALL_RIGHT = "all students right"
    UNLABELLED = "no gold label"
    TRAINING = "training question"


@dataclass(frozen=True, kw_only=True)
class AnswerChain:
    """One chain that a student wrote, as its predictions file holds it."""

    text: str
    answer: str | None
    n_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One row of a predictions file: a student's answer to a question and the chains that led to it."""

    question_key: str
    gold: str | None
    answer: str | None
    reason: str | None
    tally: dict[str, int]
    tied: bool
    chains: tuple[AnswerChain, ...]

    @property
    def mark(self) -> Mark:
        return Mark.of(self.answer, self.gold)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Which answers a row of the accuracy table is about.

    `row` and `place` say where in the experiment file the student stands, `seed` is None for one that was not swept
    over seeds, `run` is empty where the report is about one run only. `baseline`: its row is what others are tested
    against.
    """

    student: str
    target: Target
    split: str
    decoding: str
    votes: int
    row: str
    place: Place = ()
    seed: Value = None
    run: str = ""
    baseline: bool = False

    @property
    def arm(self) -> tuple[object, ...]:
        """What it has in common with the cells that differ from it in their seed alone."""
        return self.run, self.row, self.place, self.split, self.decoding


Predictions = Mapping[Cell, Mapping[str, Answer]]


@dataclass(frozen=True, kw_only=True)
class Form:
    """What numbers need to know of a question: how many choices it has, and the key of the one that it is a minimal
    change of."""

    choices: int
    original: str | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The numbers of one cell.

    `n` counts the answered questions that have a gold label, `correct` the right ones among them, `unparsed` the ones
    without an answer. `interval` is Wilson's for correct / n, None where n is 0. `chains_unparsed` of `chains` texts
    gave no answer (with a vote these are more than the answers). `tokens` is the mean number of new tokens a question.
    """

    n: int
    unlabelled: int
    correct: int
    interval: Interval | None
    unparsed: int
    reasons: dict[str, int]
    ties: int
    chains: int
    chains_unparsed: int
    tokens: float | None

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.n if self.n else None

    @property
    def answered(self) -> int:
        return self.n + self.unlabelled


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A cell against the baseline on the same questions: McNemar's exact test of the pairs that differ.

    `pairs` labelled questions were answered by both; `only_this` of them only this student got right, `only_baseline`
    only the baseline. `difference` is (only_this - only_baseline) / pairs. `needed` is the smallest surplus of
    questions that would have stood clear of chance among as many differing pairs, None where no surplus could.
    """

    student: str
    decoding: str
    pairs: int
    only_this: int
    only_baseline: int
    p: float
    needed: int | None

    @property
    def difference(self) -> float:
        return (self.only_this - self.only_baseline) / self.pairs


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the accuracy table; without a result it is not yet there. The baseline itself has no comparison."""

    cell: Cell
    result: Result | None
    comparison: Comparison | None


@dataclass(frozen=True, kw_only=True)
class Against:
    """An arm less another on the same questions: `pairs` labelled ones that every seed of both answered.

    Seeds are paired where both have them; `seeds` counts the pairs. An arm of one student without a seed is set
    against each seed of the other.
    """

    other: Cell
    seeds: int
    pairs: int
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A row of the experiment at one place, on one split, decoded one way, over its seeds.

    `rows` holds a line of the accuracy table for each seed, those not yet there too. `mean` is the mean over the
    seeds of the accuracy on the `n` labelled questions that all of them answered; its `interval` is Wilson's where
    there is one seed, otherwise the bootstrap's over questions and seeds. Both are None where there is nothing.
    """

    rows: tuple[Row, ...]
    n: int
    mean: float | None
    interval: Interval | None
    against: Against | None

    @property
    def cell(self) -> Cell:
        """Its first cell: row, place, target and decoding are those of all."""
        return self.rows[0].cell

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(row.result for row in self.rows if row.result is not None)

    @property
    def accuracies(self) -> tuple[tuple[Value, float | None], ...]:
        """Each seed with its accuracy, None where it is not yet there or has no labels."""
        return tuple((row.cell.seed, None if row.result is None else row.result.accuracy) for row in self.rows)

    @property
    def unparsed(self) -> float | None:
        """Mean share of answers outside of the choices, or without an answer at all."""
        return _mean([one.unparsed / one.answered for one in self.results if one.answered])

    @property
    def chains_unparsed(self) -> float | None:
        """Mean share of such chains where answers are votes; None for single chains."""
        return _mean([one.chains_unparsed / one.chains for one in self.results if one.chains > one.answered])

    @property
    def tokens(self) -> float | None:
        """Mean number of new tokens a question."""
        return _mean([one.tokens for one in self.results if one.tokens is not None])


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


@dataclass(frozen=True, kw_only=True)
class SplitTable:
    """The rows of one split. `chance` is 1 / choices where every question has as many choices, otherwise None.

    `split` is its name on the page, which holds the task too where runs of several tasks stand side by side.
    """

    split: str
    chance: float | None
    rows: tuple[Row, ...]
    arms: tuple[Arm, ...]

    @property
    def swept(self) -> bool:
        """Whether the arms say something that the single rows do not."""
        return any(arm.cell.seed is not None or arm.cell.place for arm in self.arms)


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """What became of the chains that were drawn in one way. None: not known."""

    sampling: str
    asked: int | None
    received: int | None
    parsed: int | None
    correct: int | None
    finish: dict[str, int]
    unparsed: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SelectionRow:
    """Which chains a student was given, and why the others were left out. `stored` is their name in the corpus."""

    student: str
    target: Target
    name: str | None
    kept: int | None
    questions: int | None
    dropped: dict[str, int]
    trained: int | None
    stored: str | None


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """From the chains asked for to the chains trained on. `requests` counts those to the teacher by what became of
    them, over all sittings of the corpus."""

    teacher: str | None
    requests: dict[str, int]
    rows: tuple[FunnelRow, ...]
    students: tuple[SelectionRow, ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of the run: what it took. `skipped` steps had been done by an earlier start."""

    stage: str
    name: str
    seconds: float | None
    tokens: int | None
    counts: dict[str, str]
    skipped: bool
