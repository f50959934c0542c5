"""When two questions are the same question: identities from content, and repeats within and between splits.

Texts are compared without regard to case, to white space, and to how an accented letter is composed. Two questions are
the same where stem and set of choices agree, in whatever order the choices stand: shuffling them hides no leak.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scotd.types import Choice, Question, digest

ContentKey = tuple[str, frozenset[str]]


def normalised(text: str) -> str:
    """Return what of a text is compared."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def content_key(question: Question) -> ContentKey:
    """Return what makes two questions the same question."""
    return normalised(question.stem), frozenset(normalised(choice.text) for choice in question.choices)


def content_id(prefix: str, stem: str, choices: Sequence[Choice], *more: str) -> str:
    """Return a durable id for a question whose source has none: prefix and 16 hex digits of its exact content."""
    return f"{prefix}-{digest([stem, [[choice.label, choice.text] for choice in choices], *more])[:16]}"


class RepeatNumbers:
    """Keeps content ids unique where a source repeats itself: the second is "x-2", the third "x-3", in file order."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def unique(self, identity: str) -> str:
        self._seen[identity] += 1
        return identity if self._seen[identity] == 1 else f"{identity}-{self._seen[identity]}"


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """The same question at two places: `first` comes before `second` in the order of the files."""

    first: Question
    second: Question


def repeats(questions: Sequence[Question]) -> list[Repeat]:
    """Return every question that was there before, each with its first occurrence."""
    seen: dict[ContentKey, Question] = {}
    found = []
    for question in questions:
        first = seen.setdefault(content_key(question), question)
        if first is not question:
            found.append(Repeat(first=first, second=question))
    return found
