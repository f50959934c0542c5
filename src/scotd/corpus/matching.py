"""Which known question does a row of somebody's file belong to? By id, or by its exact words; never by resemblance.

Released chain corpora rarely carry the ids of the questions they answer. They repeat the question's text, with or
without its choices, in any of the usual notations. White space is made one blank; the stem must then be equal to the
letter, and so must the choices. Only what marks and joins these is free: `(A) x or (B) y`, `A: x, B: y`,
`Answer Choices: (a) x ...`.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scotd.types import Choice, Question


class NoMatch(StrEnum):
    """Why a row belongs to no question."""

    ID = "no question has this id"
    TEXT = "no question has this text"
    CHOICES = "the question of this text has other choices"
    SEVERAL = "more than one question has this id or text"
    DISAGREE = "id and text name different questions"


@dataclass(frozen=True, kw_only=True)
class QuestionIndex:
    """Known questions, to be found by id (with or without the task in front) or by stem."""

    by_id: Mapping[str, tuple[Question, ...]]
    by_stem: Mapping[str, tuple[Question, ...]]
    lengths: tuple[int, ...]  # of the stems, longest first

    @classmethod
    def of(cls, questions: Iterable[Question]) -> "QuestionIndex":
        by_id: dict[str, list[Question]] = {}
        by_stem: dict[str, list[Question]] = {}
        for question in questions:
            for name in {question.id, question.key}:
                by_id.setdefault(name, []).append(question)
            by_stem.setdefault(squeezed(question.stem), []).append(question)
        return cls(
            by_id={name: tuple(found) for name, found in by_id.items()},
            by_stem={stem: tuple(found) for stem, found in by_stem.items()},
            lengths=tuple(sorted({len(stem) for stem in by_stem}, reverse=True)),
        )


def match(
    index: QuestionIndex,
    *,
    id: str | None = None,
    text: str | None = None,
    choices: Sequence[str] | None = None,
) -> Question | NoMatch:
    """Return the one question that has this id, this text (and these choices); where both id and text are given they
    must agree. Otherwise return why there is none."""
    assert id is not None or text is not None
    by_text = None if text is None else _by_text(index, squeezed(text), choices)
    if id is None:
        assert by_text is not None
        return by_text if isinstance(by_text, NoMatch) else _only(by_text)
    named = index.by_id.get(id.strip(), ())
    if not named:
        return NoMatch.ID
    if by_text is None:
        return _only(named)
    if isinstance(by_text, NoMatch):
        return by_text if by_text is NoMatch.CHOICES else NoMatch.DISAGREE
    both = [question for question in named if question in by_text]
    return _only(both) if both else NoMatch.DISAGREE


def label_of(question: Question, answer: Any) -> str | None:
    """Label of the choice that an answer names, by its label ("(b)", "B.", "b") or its text, or None."""
    if not isinstance(answer, str | int | float):
        return None
    given = squeezed(str(answer))
    bare = given.strip("()[].: ").casefold()
    for choice in question.choices:
        if bare == choice.label.casefold():
            return choice.label
    named = [choice.label for choice in question.choices if squeezed(choice.text).casefold() == given.casefold()]
    return named[0] if len(named) == 1 else None


def squeezed(text: str) -> str:
    """The text with every run of white space as one blank, and each accented letter composed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _only(questions: Sequence[Question]) -> Question | NoMatch:
    return questions[0] if len(questions) == 1 else NoMatch.SEVERAL


def _by_text(index: QuestionIndex, text: str, choices: Sequence[str] | None) -> tuple[Question, ...] | NoMatch:
    """Questions with this text: as it stands, without "Q:" and "A:" around it, or as stem plus choices."""
    verdict = NoMatch.TEXT
    for candidate in dict.fromkeys((text, _unframed(text))):
        found = _with_choices(index.by_stem.get(candidate, ()), choices)
        if found:
            return found
        if candidate in index.by_stem:
            verdict = NoMatch.CHOICES
        for length in index.lengths:
            stem, rest = candidate[:length], candidate[length:]
            if not rest or stem not in index.by_stem:
                continue
            found = tuple(q for q in _with_choices(index.by_stem[stem], choices) if _lists_choices(rest, q))
            if found:
                return found
            if _MARKED.match(rest):
                verdict = NoMatch.CHOICES
    return verdict


def _with_choices(questions: Sequence[Question], choices: Sequence[str] | None) -> tuple[Question, ...]:
    if choices is None:
        return tuple(questions)
    wanted = [squeezed(choice) for choice in choices]
    return tuple(q for q in questions if [squeezed(choice.text) for choice in q.choices] == wanted)


_HEADER = r"(?:(?:[Aa]nswer )?(?:[Cc]hoices|[Oo]ptions) ?:)"
_OPENING = re.compile(rf" ?{_HEADER}? ?")
_MARK = re.compile(r" ?[,;|]? ?(?:or[,:]? )?(?:[(\[]?(?P<label>[^\s()\[\]]+?)(?:[)\].:]+ ?| ))?")
_MARKED = re.compile(rf" ?(?:{_HEADER}|[(\[]?\w[)\].:])")
_FRAME = re.compile(r"(?:Q|Question) ?: (.*?)(?: (?:A|Answer) ?:)?")


def _unframed(text: str) -> str:
    framed = _FRAME.fullmatch(text)
    return text if framed is None else framed[1]


def _lists_choices(text: str, question: Question) -> bool:
    """True where a text is the question's choices and nothing else: labels in either case and any mark, texts to the
    letter. (One regular expression a question would say it, and take longer to compile than the file to read.)"""
    opening = _OPENING.match(text)
    place = 0 if opening is None else opening.end()
    for choice in question.choices:
        wanted = squeezed(choice.text)
        at = text.find(wanted, place)
        while at >= 0 and not _marks(text[place:at], choice):
            at = text.find(wanted, at + 1)
        if at < 0:
            return False
        place = at + len(wanted)
    return text[place:].strip(" ") in {"", ".", "?"}


def _marks(between: str, choice: Choice) -> bool:
    """True for what may stand in front of this choice's text: ", or (b) "."""
    found = _MARK.fullmatch(between)
    if found is None:
        return False
    label = found["label"]
    return choice.label == choice.text if label is None else label.casefold() == choice.label.casefold()
