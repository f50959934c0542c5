"""What a blind comparison is made of, as plain values.

    sources -> Pair -> Item -> Presentation (one rater, one place) -> Vote -> results

A rater sees "chain 1" and "chain 2"; which source stands first is drawn for each item and rater. Sources are called
"a" and "b" inside, and by their names in the results only.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from scotd.types import Question

Side = Literal["a", "b"]
ASK = "Which chain of thought explains the answer better?"


class Sample(StrEnum):
    """The paper's two samples of questions (3.1, human evaluation)."""

    RANDOM = "random"  # any question that both sources answered
    BOTH_RIGHT = "both right"  # both sources end in the gold label: is the reasoning better, not the answer?


class Pick(StrEnum):
    """What a rater says of two chains, by the order in which they were shown."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two texts on one question; `right` says of each whether it ends in the gold label, None without one."""

    question: Question
    a: str
    b: str
    right_a: bool | None
    right_b: bool | None

    @property
    def both_right(self) -> bool:
        return self.right_a is True and self.right_b is True


@dataclass(frozen=True, kw_only=True)
class Item:
    """A pair of the study; it may belong to both samples, and is judged once for the two."""

    number: int
    pair: Pair
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the number of items was found: the smallest that finds a win rate of `detect` with `power` (items.py).

    `items` were wanted for each sample; fewer may exist. `items` is the user's own where `detect` is None.
    """

    items: int
    detect: float | None
    power: float
    confidence: float
    ties: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is fixed when a study is made. `pools` and `left_out` count questions, by sample and by reason."""

    a: str
    b: str
    split: str
    seed: int
    ask: str
    rubric: tuple[str, ...]
    ties: bool
    answers_shown: bool
    repeats: float
    plan: Plan
    pools: dict[str, dict[str, int]]
    left_out: dict[str, int]
    made: str
    scotd: str

    def named(self, side: Side) -> str:
        """The name of a source."""
        return self.a if side == "a" else self.b


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """One item at one place of one rater's list; `first` is the source of chain 1. A repeat is for self-agreement."""

    item: int
    repeat: bool
    first: Side

    def side(self, pick: Pick) -> Side | None:
        """The source that a pick prefers, None for a tie."""
        if pick is Pick.TIE:
            return None
        other: Side = "b" if self.first == "a" else "a"
        return self.first if pick is Pick.FIRST else other


@dataclass(frozen=True, kw_only=True)
class Rater:
    """Somebody who judges. The token is the secret part of the address of their pages."""

    id: int
    name: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A rater's standing vote at a place. `seconds`: how long the page was in sight, None where it did not say.

    `rubric` holds one pick for each rubric question, None where it was left open.
    """

    rater: int
    place: int
    revision: int
    shown: Presentation
    pick: Pick
    rubric: tuple[Pick | None, ...]
    seconds: float | None

    @property
    def side(self) -> Side | None:
        return self.shown.side(self.pick)


@dataclass(frozen=True, kw_only=True)
class ModelVote:
    """What a language model said of an item shown in one order; `pick` is None where it gave no usable answer."""

    judge: str
    item: int
    first: Side
    pick: Pick | None
    reason: str | None
    text: str

    @property
    def side(self) -> Side | None:
        return (
            None if self.pick is None else Presentation(item=self.item, repeat=False, first=self.first).side(self.pick)
        )
