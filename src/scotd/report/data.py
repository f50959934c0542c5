"""What a report shows, as plain values: `collect.py` fills them, `render.py` and `plots.py` draw them.

    run folder -> collect -> Report -> render -> report.html, results.md, summary.json

Texts are raw here, just as a model or a user wrote them; making them harmless is the business of `render.py` alone.
"""

from dataclasses import dataclass
from enum import StrEnum

from scotd.stats import Interval
from scotd.types import Choice, Target


class Mark(StrEnum):
    """How a chain or an answer compares with the gold label."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    OPEN = "no gold label"


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
        return mark(self.answer, self.gold)


def mark(answer: str | None, gold: str | None) -> Mark:
    """Compare an answer with the gold label. An answer that could not be parsed is never right."""
    if answer is None:
        return Mark.UNPARSED
    if gold is None:
        return Mark.OPEN
    return Mark.RIGHT if answer == gold else Mark.WRONG


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Which answers a row of the accuracy table is about."""

    student: str
    target: Target
    split: str
    decoding: str
    votes: int


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
class SplitTable:
    """The rows of one split. `chance` is 1 / choices where every question has as many choices, otherwise None."""

    split: str
    chance: float | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """What became of the chains that were drawn in one way. None: not known."""

    sampling: str
    asked: int | None
    received: int | None
    parsed: int | None
    correct: int | None
    finish: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SelectionRow:
    """Which chains a student was given, and why the others were left out."""

    student: str
    target: Target
    name: str | None
    kept: int | None
    questions: int | None
    dropped: dict[str, int]
    trained: int | None


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """From the chains asked for to the chains trained on."""

    teacher: str | None
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


@dataclass(frozen=True, kw_only=True)
class ShownChain:
    """A chain as shown: at most a set number of characters, `hidden` more exist."""

    label: str
    text: str
    hidden: int
    mark: Mark
    answer: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class StudentAnswer:
    """What one student answered to a shown question."""

    student: str
    target: Target
    decoding: str
    mark: Mark
    answer: str | None
    reason: str | None
    tally: dict[str, int]
    tied: bool
    chains: tuple[ShownChain, ...]
    hidden: int


@dataclass(frozen=True, kw_only=True)
class TeacherChains:
    """The teacher's chains for a shown question that were drawn in one way; the marks count all, shown or not."""

    teacher: str
    sampling: str
    marks: dict[Mark, int]
    chains: tuple[ShownChain, ...]
    hidden: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One shown question with everything that was written about it."""

    key: str
    split: str
    stem: str
    choices: tuple[Choice, ...]
    has_label_set: bool
    gold: str | None
    pair: str | None
    why: Why
    answers: tuple[StudentAnswer, ...]
    teacher: tuple[TeacherChains, ...]

    @property
    def teacher_marks(self) -> dict[Mark, int]:
        """How many of the teacher's chains, however drawn, are right, wrong, unparsed."""
        sums = {kind: sum(group.marks.get(kind, 0) for group in self.teacher) for kind in Mark}
        return {kind: n for kind, n in sums.items() if n}


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The shown questions and, in a sentence each, how they were chosen. `evaluated` may hold teacher's chains too."""

    evaluated: tuple[Example, ...]
    training: tuple[Example, ...]
    how: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything on the page, from top to bottom."""

    name: str
    subtitle: tuple[tuple[str, str], ...]
    verdict: tuple[str, ...]
    limits: tuple[str, ...]
    baseline: str | None
    confidence: float
    tables: tuple[SplitTable, ...]
    funnel: Funnel
    stages: tuple[Stage, ...]
    examples: Examples
    configuration: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
