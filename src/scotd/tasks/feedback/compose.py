"""Clauses put together to a remark, and a remark put into a question.

A joint has two forms, one for clauses of opposite opinion ("but") and one for clauses of the same ("and"). So a
contrast item that turns one opinion keeps the joints of its test item, in the other form where English asks for it.
"""

from dataclasses import dataclass
from enum import StrEnum

from scotd.tasks.feedback.fragments import Domain, Fragment, Polarity

MAX_WORDS = 45  # of a stem


class Label(StrEnum):
    """The fixed label set."""

    PLEASED = "pleased"
    NOT_PLEASED = "not pleased"
    NOT_SAID = "not said"

    @classmethod
    def of(cls, polarity: Polarity) -> "Label":
        return cls.PLEASED if polarity is Polarity.PRAISE else cls.NOT_PLEASED


@dataclass(frozen=True, kw_only=True)
class Joint:
    """How two neighbouring clauses are joined: `opposed` or `alike` in opinion."""

    opposed: str
    alike: str


# {a} and {b} continue a sentence, {A} and {B} begin one.
JOINTS = (
    Joint(opposed="{A}, but {b}.", alike="{A}, and {b}."),
    Joint(opposed="{A}, although {b}.", alike="{A}, and {b}."),
    Joint(opposed="Although {a}, {b}.", alike="{A}, and {b}."),
    Joint(opposed="{A}. {B}.", alike="{A}. {B}."),
    Joint(opposed="{A}; still, {b}.", alike="{A}; besides, {b}."),
    Joint(opposed="{A}. However, {b}.", alike="{A}. Also, {b}."),
    Joint(opposed="{A}. On the other hand, {b}.", alike="{A}. What is more, {b}."),
)
JOINTS_BEFORE_CODA = 4  # the first ones: "A; still, B. However, C." limps
# What may follow a sentence that holds two clauses already, joined by one of the joints that need no adverb.
CODAS = (
    Joint(opposed=" Still, {b}.", alike=" Besides, {b}."),
    Joint(opposed=" However, {b}.", alike=" Also, {b}."),
    Joint(opposed=" {B}.", alike=" {B}."),
)
FRAMES = (
    'A {who} wrote about {thing}: "{remark}" Was the {who} pleased with {asked}?',
    'A {who} reviewed {thing}: "{remark}" Was the {who} pleased with {asked}?',
    'In a review of {thing}, a {who} said: "{remark}" Was the {who} pleased with {asked}?',
)


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One to three clauses of different aspects. `joint`, `coda` and `frame` are indices into the tables above."""

    domain: Domain
    parts: tuple[Fragment, ...]
    joint: int
    coda: int
    frame: int

    @property
    def aspects(self) -> dict[str, Fragment]:
        """The clause by the aspect it speaks of."""
        return {part.aspect: part for part in self.parts}

    def text(self) -> str:
        """Return the remark as written by the customer."""
        first = self.parts[0]
        if len(self.parts) == 1:
            return f"{_capital(first.text)}."
        text = _join(JOINTS[self.joint], first, self.parts[1])
        return text + "".join(_join(CODAS[self.coda], self.parts[1], third) for third in self.parts[2:])


@dataclass(frozen=True, kw_only=True)
class Item:
    """A remark and the aspect asked about. The gold label follows from the two."""

    remark: Remark
    asked: str

    @property
    def gold(self) -> Label:
        part = self.remark.aspects.get(self.asked)
        return Label.NOT_SAID if part is None else Label.of(part.polarity)

    @property
    def is_short(self) -> bool:
        return len(self.stem().split()) <= MAX_WORDS

    def stem(self) -> str:
        """Return the question as the teacher and the student read it."""
        domain = self.remark.domain
        return FRAMES[self.remark.frame].format(
            who=domain.who, thing=domain.thing, remark=self.remark.text(), asked=domain.aspects[self.asked]
        )


def _join(joint: Joint, a: Fragment, b: Fragment) -> str:
    form = joint.alike if a.polarity is b.polarity else joint.opposed
    return form.format(a=a.text, b=b.text, A=_capital(a.text), B=_capital(b.text))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
