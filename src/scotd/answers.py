"""Completion -> rationale and answer, or the reason why there is no answer.

    >>> parse("Books are lent by libraries. So the answer is (b) library.", question)
    Parsed(rationale='Books are lent by libraries.', answer='B', reason=None)

Three kinds of claims, tried in this order; the first kind that is found decides:

1. An answer statement: "The answer is ...", "Answer: ...", `\\boxed{...}`, in the languages of `languages.py`.
2. A weaker one: "the answer must be ...", "I choose ...", "(B) is the correct answer", "So (B).".
3. A first or last line that is an answer and nothing else: "(B)", "library", "not pleased". For yes/no questions also a
   first word set off by punctuation: "Yes, because ...".

A claim names a choice by its label or by its text; where it does both, they have to agree. A claim wins over any
mention, and a text that only mentions a choice claims nothing. Of two claims that differ, the later one counts if the
text takes the earlier one back ("No, wait, ..."), otherwise there are several answers. A hypothesis ("if the answer is
A", "the answer is A?") and a denial ("the answer is not A") claim nothing; the latter takes back. A label is a letter
in brackets, before punctuation, before its own choice's text, or a capital other than the words A and I: "the answer
is a dog" is never choice A. A letter of another script is never taken for its look-alike: a Cyrillic В is the third
letter of a Russian list and not a B. Full-width forms are the same letters, and count.

The rationale is what stands before the first claim of the final answer. What follows a next "Q:" is not read. A text
that hit the token limit keeps its answer only if nothing that could have followed would change it.

White space is collapsed before any expression runs, and none has a repetition in a repetition: time is linear.
"""

import hashlib
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from scotd import languages, reading
from scotd.reading import CLOSERS, EDGE, Named, Reading, Text, words
from scotd.types import Finish, NoAnswer, Parsed, Question

_SIGN = r"\s?[\"']?\s?(?::|=+>?|->|→|⇒|[—–]|-(?=\s))"
_STATEMENT = re.compile(
    rf"(?:(?:{EDGE}(?:{words('noun')}))(?:\s?{words('after')}{EDGE})?"
    rf"(?:\s?(?:(?P<denied>{words('not_verb')})|(?P<weak>{words('weak_verb')})|{words('verb')}){EDGE}|{_SIGN}"
    rf"|(?<=[案답])(?=\s?[(A-Z]))"
    rf"|{EDGE}{words('phrase')}{EDGE}|#{{4,}}+|\\f?boxed(?=\s?\{{))",
    re.IGNORECASE,
)
# Where a statement may begin in an ASCII text in lower case ("ans": "answer" too); a text with a rarer beginning is
# searched from end to end.
BEGINNINGS = ("ans", "respuesta", "resposta", "risposta", "antwort")
RARE_BEGINNINGS = ("choice is", "option is", "one is", "####", "boxed")
_CHOOSING = re.compile(
    rf"{EDGE}i(?:'d|'ll|\swill|\swould)?\s(?:choose|pick|select|go\swith|say){EDGE}"
    r"|(?:^|(?<=[\n.]))\s?(?:label|sentiment|verdict|classification|prediction|choice|option|conclusion)\s?:",
    re.IGNORECASE,
)
_CONCLUDING = re.compile(rf"{EDGE}{words('lead')}{EDGE}[,:]?\s?(?=[(\[])", re.IGNORECASE)
_CORRECT = re.compile(
    r"\sis\s(?:therefore\s|thus\s|clearly\s|indeed\s|actually\s)?(?:the\s)?(?:only\s|most\s)?"
    r"(?:(?:correct|right|best|likely|appropriate|suitable|logical|reasonable|accurate)\s(?:answer|choice|option|one)\b"
    r"|answer\b|(?:correct|right)(?=[.,;!\n]|$))",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    rf"(?:{EDGE}{words('lead')}{EDGE}[,:]?\s?)?(?:{EDGE}{words('before')}{EDGE}\s?){{0,4}}$", re.IGNORECASE
)
_HYPOTHESIS = re.compile(
    rf"\b(?:if|whether|suppose|assuming|unless|each|every|all|any|these|which|what)\s(?:that\s)?(?:{words('before')}\s){{0,3}}$",
    re.I,
)
_REFUSED = re.compile(
    r"\b(?:if|whether|neither|nor|not|why|what|how|which)\s(?:the\s|option\s|choice\s)*$", re.IGNORECASE
)
_ON_THE_WAY = re.compile(  # what may stand between a statement and the choice it names, or instead of one
    rf"(?P<negation>{words('negation')}{EDGE}\s?)"
    rf"|(?P<none>{words('none')}{EDGE}|[(\[{{\"']\s?\w{{1,3}}\s?[)\]}}\"']|(?-i:[A-Z0-9]{{1,2}})(?=[.,;:!)\n]|$))"
    rf"|(?P<prelude>{EDGE}{words('prelude')}{EDGE}|\\f?boxed|[\s:=>~$,-]+|[\"'({{\[])",
    re.IGNORECASE,
)
_TAKING_BACK = re.compile(
    rf"(?:^|[.!?,;:\n()—–-])\s?(?:(?:but|oh|hmm+|well|and|no)\b,?\s)?{words('taking_back')}|\sactually\s?$",
    re.IGNORECASE,
)
_NEXT_QUESTION = re.compile(
    r"\n[ \t]*(?:\*\*)?(?:Q|Question|Next question|Pregunta|Frage|Domanda|Pergunta|Вопрос|问题|問題|질문|السؤال)"
    r"[ \t]?\d*[ \t]?[:：]|<\|(?:im_end|endoftext|eot_id|end)\|>|</s>",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"(?:yes|no|true|false|sí|si|oui|non|ja|nein|да|нет)", re.IGNORECASE)
_BULLET = re.compile(r"(?:[-•>]\s|(?:the|option|choice)\s)*", re.IGNORECASE)


@cache
def version() -> str:
    """Which parser this is: a digest of its source. Answers that another one read are read anew."""
    sources = [Path(file).read_bytes() for file in (__file__, reading.__file__, languages.__file__)]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:16]


class _Kind(StrEnum):
    CHOICE = "choice"
    SEVERAL = "several"
    UNKNOWN = "unknown"  # has the shape of an answer and is none of the choices
    DENIED = "denied"  # "the answer is not (a)"
    OPEN = "open"  # a statement, and no choice in it that could be read


class _Claim(NamedTuple):
    """What a text claims. Positions are those of `Text.read`: the statement's start, the value's start and end.

    `closed` is False where the text ended so early that more of it could have made another value.
    """

    start: int
    value: int
    end: int
    kind: _Kind
    label: str | None = None
    closed: bool = True


def parse(text: str, question: Question, finish: Finish = Finish.UNKNOWN) -> Parsed:
    """Take a completion apart. Never raises; every text has either an answer or a reason for having none.

    `finish` tells a text that was cut off by the token limit from one that ended by itself without an answer.
    """
    own, finish = _own_part(text, finish)
    reader = _Reader(Text.of(own), question)
    final, reason = _decided(reader, finish)
    if final is None:
        return Parsed(rationale=own.strip(), answer=None, reason=reason)
    return Parsed(rationale=reader.text.before(reader.first(final)), answer=final.label, reason=reason)


def answer_of(text: str, question: Question, finish: Finish = Finish.UNKNOWN) -> tuple[str | None, NoAnswer | None]:
    """Answer and reason as `parse` finds them, without the rationale: millions of chains are read for no more."""
    own, finish = _own_part(text, finish)
    final, reason = _decided(_Reader(Text.of(own), question), finish)
    return None if final is None else final.label, reason


def _own_part(text: str, finish: Finish) -> tuple[str, Finish]:
    """The text before a next question, where the teacher went on to one."""
    next_question = _NEXT_QUESTION.search(text) if "\n" in text or "<" in text else None
    return (text, finish) if next_question is None else (text[: next_question.start()], Finish.STOP)


def _decided(reader: "_Reader", finish: Finish) -> tuple[_Claim | None, NoAnswer | None]:
    """The first claim of the final answer, whose label is the answer, and the reason where it has none."""
    if not reader.text.source.strip():
        return None, NoAnswer.EMPTY
    cut_off = finish is Finish.LENGTH
    open_statement = False
    for kind in (reader.statements, reader.weaker_statements, reader.bare_lines):
        claims = list(kind())
        complete = [claim for claim in claims if claim.closed] if cut_off else claims
        final = reader.decide(complete)
        if cut_off and (final is None or final.kind is _Kind.CHOICE) and reader.undecided(final, claims):
            return None, NoAnswer.CUT_OFF
        if final is not None:
            if final.kind is _Kind.CHOICE:
                return final, None
            return final, NoAnswer.SEVERAL if final.kind is _Kind.SEVERAL else NoAnswer.UNKNOWN_CHOICE
        open_statement |= any(claim.kind is _Kind.OPEN and claim.value < claim.end for claim in claims)
    if cut_off:
        return None, NoAnswer.CUT_OFF
    return None, NoAnswer.UNKNOWN_CHOICE if open_statement else NoAnswer.MISSING


class _Reader(Reading):
    """Finds the claims of one text about one question."""

    def __init__(self, text: Text, question: Question) -> None:
        super().__init__(text, question)
        self.has_label_set = question.has_label_set
        self.values: dict[int, _Claim] = {}  # what has been read, by position

    def statements(self) -> Iterator[_Claim]:
        return (claim for claim, weak in self._stated if not weak)

    def weaker_statements(self) -> Iterator[_Claim]:
        claims = [claim for claim, weak in self._stated if weak]
        claims += [self._value(match.start(), match.end()) for match in _CHOOSING.finditer(self.read)]
        for match in _CONCLUDING.finditer(self.read):
            claim = self._value(match.start(), match.end())
            if self.read[claim.end : claim.end + 1] in ("", ".", "!", "\n"):
                claims.append(claim)
        correct = (self._called_correct(match) for match in _CORRECT.finditer(self.read))
        claims += [claim for claim in correct if claim is not None]
        return iter(sorted((claim for claim in claims if claim.kind is not _Kind.OPEN), key=lambda claim: claim.start))

    def bare_lines(self) -> Iterator[_Claim]:
        """Lines that are an answer and nothing else, provided that the first or the last line is one."""
        found: list[_Claim | None] = []
        start = 0
        for line in self.read.split("\n"):
            if line.strip():
                bullet = _BULLET.match(self.read, start + len(line) - len(line.lstrip()))
                named = None if bullet is None else self.named(bullet.end())
                rest = "" if named is None else self.read[named.end : start + len(line)].strip(" .!,;" + CLOSERS)
                found.append(None if named is None or rest else _claim(start, start, named))
            start += len(line) + 1
        if found and found[0] is None:
            found[0] = self._interjection()
        if not found or (found[0] is None and found[-1] is None):
            return iter(())
        return (claim for claim in found if claim is not None)

    @cached_property
    def _stated(self) -> list[tuple[_Claim, bool]]:
        """All statements, each with whether it is a weak one."""
        stated = []
        for match in _statements(self.text):
            claim = self._value(match.start(), match.end())
            if claim.kind is not _Kind.OPEN and _HYPOTHESIS.search(self._clause(match.start(), 40)):
                continue
            if match["denied"]:
                claim = _denied(match.start(), Named(claim.label, claim.end) if claim.kind is _Kind.CHOICE else None)
            stated.append((claim, match["weak"] is not None))
        return stated

    def _interjection(self) -> _Claim | None:
        """The label at the very beginning of a yes/no answer: "Yes, because ..."."""
        start = len(self.read) - len(self.read.lstrip())
        named = self.named(start)
        if named is None or not self.has_label_set or not _YES_NO.fullmatch(self.read[start : named.end]):
            return None
        parted = re.match(r"[,.!;:—–-]|\sbecause\b", self.read[named.end : named.end + 10])
        return None if parted is None else _claim(start, start, named)

    def _called_correct(self, match: re.Match[str]) -> _Claim | None:
        """The choice in front of "is the correct answer"."""
        before = self.named_before(match.start())
        if before is None or _REFUSED.search(self.read[max(0, before[1] - 30) : before[1]]):
            return None
        label, start = before
        article = re.search(r"(?:\b(?:the|an?|option|choice)\s)+$", self.low[max(0, start - 20) : start])
        start -= 0 if article is None else len(article.group())
        return _claim(start, start, Named(label, match.end()))

    def _value(self, start: int, position: int) -> _Claim:
        """Read what a statement that starts at `start` says at `position`."""
        if position not in self.values:
            self.values.update(self._read_value(position))
        return self.values[position]._replace(start=start)

    def _read_value(self, position: int) -> dict[int, _Claim]:
        """Read the value at a position and remember it for all positions on the way: no text is walked over twice."""
        way: list[int] = []
        while position not in self.values:
            way.append(position)
            named = self.named(position)
            if named is not None:
                question = self.read[named.end : named.end + 1] == "?"
                claim = _open(position) if question else _claim(position, position, named)
                break
            match = _ON_THE_WAY.match(self.read, position)
            if match is None:
                says_something = bool(self.read[position : position + 20].strip(" \n.,;:!?" + CLOSERS))
                claim = _open(position, position + says_something)
                break
            if match["negation"] is not None:
                claim = _denied(position, self.named(match.end()))
                break
            if match["none"] is not None:
                claim = _Claim(start=position, value=position, end=match.end(), kind=_Kind.UNKNOWN)
                break
            position = match.end()
        else:
            claim = self.values[position]
        return dict.fromkeys(way, claim)

    def decide(self, claims: list[_Claim]) -> _Claim | None:
        """Return the first claim of the answer that stands at the end, or None where nothing stands."""
        final: _Claim | None = None
        last = 0
        for claim in claims:
            if claim.kind is _Kind.OPEN:
                continue
            if claim.kind is _Kind.DENIED:
                if final is not None and final.label == claim.label:
                    final = None
                continue
            if final is None:
                final = claim
            elif (final.kind, final.label) != (claim.kind, claim.label):
                taken_back = _TAKING_BACK.search(self.read, max(0, last - 1), claim.value) is not None
                several = final._replace(kind=_Kind.SEVERAL, label=None, closed=True)
                final = claim if taken_back else several
            last = claim.end
        return final

    def undecided(self, final: _Claim | None, claims: list[_Claim]) -> bool:
        """True where a cut-off text could have gone on to another answer than the one that stands."""
        label = None if final is None else final.label
        if any(not claim.closed and claim.label != label for claim in claims):
            return True
        last = max((claim.end for claim in claims if claim.kind is not _Kind.OPEN), default=0)
        return final is not None and _TAKING_BACK.search(self.read, max(0, last - 1)) is not None

    def first(self, final: _Claim) -> int:
        """Where the statement begins, with "So the" and the like."""
        clause = self._clause(final.start, 80)
        before = _BEFORE.search(clause)
        return final.start if before is None else final.start - len(clause) + before.start()

    def _clause(self, end: int, longest: int) -> str:
        """What stands before a place, back to the last mark that parts clauses: no lead and no hypothesis spans one."""
        window = self.read[max(0, end - longest) : end]
        return window[max(map(window.rfind, ".!?;()")) + 1 :]


def _statements(text: Text) -> Iterator[re.Match[str]]:
    """What `_STATEMENT` finds, looked for where it can begin: trying every place took most of the time of a reading."""
    if not text.source.isascii() or any(rare in text.low for rare in RARE_BEGINNINGS):
        yield from _STATEMENT.finditer(text.read)
        return
    places = set()
    for beginning in BEGINNINGS:
        place = text.low.find(beginning)
        while place >= 0:
            places.add(place)
            place = text.low.find(beginning, place + 1)
    done = 0
    for place in sorted(places):
        match = _STATEMENT.match(text.read, place) if place >= done else None
        if match is not None:
            yield match
            done = match.end()


def _claim(start: int, value: int, named: Named) -> _Claim:
    kind = _Kind.SEVERAL if named.label is None else _Kind.CHOICE
    return _Claim(start=start, value=value, end=named.end, kind=kind, label=named.label, closed=named.closed)


def _denied(position: int, named: Named | None) -> _Claim:
    """What is left of a claim that is preceded by "not": it takes back, or says nothing."""
    if named is None:
        return _open(position)
    return _Claim(start=position, value=named.end, end=named.end, kind=_Kind.DENIED, label=named.label)


def _open(position: int, end: int | None = None) -> _Claim:
    return _Claim(start=position, value=position, end=position if end is None else end, kind=_Kind.OPEN)
