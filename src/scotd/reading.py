"""Which choice does a text name at a given place? The lower half of `answers.py`, which finds the places.

    reading = Reading(Text.of("The answer is (b) library."), question)
    reading.named(14)  # Named(label="B", end=25, closed=True)

A choice is named by its label, by its text, or by both, which then have to agree. A label without brackets counts where
what follows shows that it is one: punctuation, the choice's own text, a word such as "because"; or where it is a
capital other than the words A and I. A choice's text counts where it ends there, so that "library card" is no library.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from scotd.languages import LANGUAGES
from scotd.types import Choice, Question

LETTER = "A-Za-zÀ-ÖØ-öø-ɏͰ-ϿЀ-ӿ"  # scripts that part words by spaces, in which a label can stand inside a word
EDGE = f"(?:(?<![{LETTER}])|(?![{LETTER}]))"  # where a word of those scripts may begin or end


def words(field: str) -> str:
    """One alternation of a field's words over all languages, longest first; a space in it may be a line break too."""
    found = {word for language in LANGUAGES.values() for word in _split(getattr(language, field))}
    longest_first = sorted(found, key=lambda word: (-len(word), word))
    return "(?:" + "|".join(word.replace(" ", r"\s") for word in longest_first) + ")"


def _split(alternation: str) -> list[str]:
    """Split at the bars outside of brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(alternation + "|"):
        depth += (character in "([") - (character in ")]")
        if character == "|" and depth == 0:
            parts.append(alternation[start:position])
            start = position + 1
    return [part for part in parts if part]


FOLLOW = re.compile(rf"\s?{words('follow')}{EDGE}", re.IGNORECASE)
_JOIN = re.compile(rf",?\s?(?:{words('join')}{EDGE}|[/&,])\s?(?:also\s|either\s)?", re.IGNORECASE)
_VERB = re.compile(r"\s(?:is|are|was|were|does|do|did|can|could|would|will|has|have)\b", re.IGNORECASE)
_LEAD = re.compile(rf"{words('lead')}{EDGE}", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:the|an?)\s", re.IGNORECASE)
_OPTION = re.compile(r"(?:option|choice|letter)\s", re.IGNORECASE)
_AFTER_LABEL = re.compile(r"[\s:,.)\]}\"'(=-]{0,4}")
_BEFORE_BRACKET = re.compile(r"[\s,:-]{0,3}(?=[(\[])")
_CAPITAL = re.compile(r"[B-HJ-Z]")  # A and I are English words by themselves
_IN_A_WORD = re.compile(f"[{LETTER}0-9]")
CLOSERS = ")]}\"'"
_OPENERS = "([{<\"'"
_MARKS = "*_`\"'({[<>$"

# Characters that mean the same, one for one, and the full-width forms of ASCII.
_SAME = str.maketrans("“”„«»‘’‚´【】「」『』〔〕。、", '"""""\'\'\'\'()()()().,') | {
    code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)
}
_MARKUP = re.compile(
    r"(?P<space>\s{2,}|[^\S ])"  # a single space is what it is: matching each would take most of the time
    r"|</?(?:b|i|u|em|strong|code|span|p|mark|answer)>"
    r"|\\(?:text|textbf|mathrm|mathbf)(?=\s?\{)"
    r"|\*\*+|`+|(?<![^\W_])[*_]++|[*_]++(?![^\W_])"
    r"|[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]",
    re.IGNORECASE,
)
_PERHAPS_MARKUP = re.compile(r"[\t-\r\x1c-\x1f<\\*`_]|  ")  # in ASCII; a text without any is read as it stands


@dataclass(frozen=True)
class Text:
    """A text for reading: markup dropped, each run of white space one character, and every character's place.

    A run that holds a line break becomes a line break, any other a space. `low` is `read` in lower case with spaces for
    line breaks, position for position. `places` leads back to `source` and has one entry more, for the end.
    """

    source: str
    read: str
    low: str
    places: Sequence[int]

    @classmethod
    def of(cls, source: str) -> "Text":
        if source.isascii() and _PERHAPS_MARKUP.search(source) is None:
            return cls(source, source, source.lower(), range(len(source) + 1))
        pieces: list[str] = []
        places: list[int] = []
        done = 0
        opening: int | None = None  # markup that opens here belongs to the character after it
        for match in _MARKUP.finditer(source):
            start = match.start()
            pieces.append(source[done:start])
            places.extend(range(done, start))
            if opening is not None and done < start:
                if source[done] != " ":
                    places[done - start] = opening
                opening = None
            if match["space"] is not None:
                pieces.append("\n" if "\n" in match["space"] or "\r" in match["space"] else " ")
                places.append(start)
                opening = None
            elif opening is None and (start == 0 or source[start - 1].isspace()):
                opening = start
            done = match.end()
        pieces.append(source[done:])
        places.extend(range(done, len(source) + 1))
        if opening is not None and source[done : done + 1] != " ":
            places[done - len(source) - 1] = opening
        read = "".join(pieces).translate(_SAME)
        return cls(source, read, _lower(read.replace("\n", " ")), places)

    def before(self, position: int) -> str:
        """Source text in front of a position, without markup that opens right there."""
        place = self.places[position]
        run = place
        while run > 0 and self.source[run - 1] in _MARKS:
            run -= 1
        if run == 0 or self.source[run - 1].isspace():
            place = run
        head = self.source[:place].rstrip()
        last_line = head[head.rfind("\n") + 1 :]
        if last_line.strip() and not last_line.strip().strip("#"):  # "## Answer: B"
            head = head.removesuffix(last_line)
        if head.endswith(",") and self.read[position : position + 1].islower() and _LEAD.match(self.read, position):
            head = head[:-1]  # "..., so the answer is": the comma belongs to the statement
        return head.strip()


def _lower(text: str) -> str:
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(c if len(c.lower()) > 1 else c.lower() for c in text)  # a few capitals would become two characters


@dataclass(frozen=True)
class Named:
    """A choice named in a text. `label` is None where two different ones are named at once.

    Positions are those of `Text.read`. `closed` is False where the text ends so early that more of it could have made
    this another choice.
    """

    label: str | None
    end: int
    closed: bool = True


@dataclass(frozen=True)
class _Label:
    written: str
    low: str | None  # None where another label differs from it in case alone
    label: str


@dataclass(frozen=True)
class _Names:
    """How the choices of a question can be named, longest name first, and the characters with which a name begins."""

    labels: tuple[_Label, ...]
    texts: tuple[tuple[str, str], ...]
    own: dict[str, list[tuple[str, str]]]  # by label, also the texts that two choices share
    shared: tuple[tuple[str, str], ...]  # only those, with each of their labels: a label behind one tells which
    begin: frozenset[str]


@lru_cache(maxsize=64)  # a question's chains come one after the other
def _names(choices: Sequence[Choice], has_label_set: bool) -> _Names:
    """Labels as `Text` has them; texts in lower case, without article and full stop. What names two choices, drops."""
    labels: list[_Label] = []
    if not has_label_set:
        written = [(Text.of(choice.label).read.strip() or choice.label, choice.label) for choice in choices]
        lows = [_lower(name) for name, _ in written]
        labels = [
            _Label(name, low if lows.count(low) == 1 else None, label)
            for (name, label), low in zip(written, lows, strict=True)
        ]
    found: dict[str, set[str]] = {}
    for choice in choices:
        low = Text.of(choice.text).low.strip()
        bare = low.rstrip(".!?") or low
        article = _ARTICLE.match(bare)
        for text in {low, bare, bare if article is None else bare[article.end() :]}:
            if any(character.isalnum() for character in text):
                found.setdefault(text, set()).add(choice.label)
    texts = [(text, min(labels_of)) for text, labels_of in found.items() if len(labels_of) == 1]
    shared = [(text, label) for text, labels_of in found.items() if len(labels_of) > 1 for label in sorted(labels_of)]
    begin = {name[:1] for text, _ in (*texts, *shared) for name in (text, "a", "t")}
    begin |= {name[:1] for label in labels for name in (label.written, label.written.lower())}
    return _Names(
        labels=tuple(sorted(labels, key=lambda label: -len(label.written))),
        texts=tuple(sorted(texts, key=lambda pair: -len(pair[0]))),
        own={
            choice.label: [
                (text, choice.label) for text in sorted(found, key=len, reverse=True) if choice.label in found[text]
            ]
            for choice in choices
        },
        shared=tuple(sorted(shared, key=lambda pair: -len(pair[0]))),
        begin=frozenset(begin | set(_OPENERS)),
    )


class Reading:
    """One text, read with one question's choices in mind."""

    def __init__(self, text: Text, question: Question) -> None:
        self.text, self.read, self.low = text, text.read, text.low
        self.length = len(self.read.rstrip())
        self.names = _names(question.choices, question.has_label_set)

    def named(self, position: int) -> Named | None:
        """Return the choice that is named right here, by label, by text or by both; None where none is."""
        if self.low[position : position + 1] not in self.names.begin:
            return None
        bracketed = self._bracketed(position)
        return self._named_bare(position) if bracketed is None else self._with_text(*bracketed, closed=True)

    def _named_bare(self, position: int) -> Named | None:
        bare = self._bare(position)
        named = self._text_at(position, article=bare is None)
        if named is not None and not self._may_end(named[1]):
            named = None
        if bare is not None and (named is None or named[1] <= bare[1]):
            if named is not None and named[0] != bare[0]:  # labels are numbers, and so are the texts
                return Named(None, bare[1])
            return self._with_text(*bare, closed=bare[1] < self.length)
        if named is None:
            shared = self._by_shared_text(position)
            return None if shared is None else self._joined(*shared, closed=True)
        label, end = named
        gap = _BEFORE_BRACKET.match(self.read, end)
        both = None if gap is None else self._bracketed(gap.end())
        if both is not None:
            return self._joined(label if both[0] == label else None, both[1], closed=True)
        shared = self._by_shared_text(position)  # "salt and pepper (B)" where "salt" is a choice too
        if shared is not None:
            return self._joined(*shared, closed=True)
        own = self.low[position:end]
        longer = any(text.startswith(own) and len(text) > len(own) for text, _ in self.names.texts)
        return self._joined(label, end, closed=not (longer and end == self.length))

    def _by_shared_text(self, position: int) -> tuple[str, int] | None:
        """The text of several choices, and behind it the label of one of them: "home (C)"."""
        if not self.names.shared:
            return None
        article = _ARTICLE.match(self.read, position)
        for start in (position,) if article is None else (position, article.end()):
            for text, label in self.names.shared:
                gap = _BEFORE_BRACKET.match(self.read, start + len(text)) if self.low.startswith(text, start) else None
                both = None if gap is None else self._bracketed(gap.end())
                if both is not None and both[0] == label:
                    return both
        return None

    def named_before(self, end: int) -> tuple[str | None, int] | None:
        """Return the choice whose name ends right here and where the name starts; None where none does.

        The label is None where the name holds a label and the text of another choice.
        """
        start, by_text = end, None
        for text, label in self.names.texts:
            if len(text) <= end and self.low.startswith(text, end - len(text)) and self._begins(end - len(text)):
                start, by_text = end - len(text), label
                break
        here = start - (start < end and self.read[start - 1 : start] == " ")
        for name in self.names.labels:
            size = len(name.written)
            inside = here - 1 - size  # where it starts if a bracket closes here
            if inside >= 0 and self.read[here - 1] in ")]" and self._label_at(inside) == (name.label, here - 1):
                opened = inside > 0 and self.read[inside - 1] in "(["
                return (name.label if by_text in (None, name.label) else None), inside - opened
            if by_text is None and here >= size and self._label_at(here - size) == (name.label, here):
                option = re.search(r"(?:option|choice|answer)\s$", self.low[max(0, here - size - 8) : here - size])
                if self._begins(here - size) and (option or self.read[here - size : here].isupper()):
                    return name.label, here - size
        return None if by_text is None else (by_text, start)

    def _begins(self, position: int) -> bool:
        return position == 0 or not (_IN_A_WORD.match(self.read, position - 1) or self.read[position - 1] == "-")

    def _with_text(self, label: str, end: int, *, closed: bool) -> Named:
        """Read on after a label: its own text belongs to it, another choice's text contradicts it."""
        gap = _AFTER_LABEL.match(self.read, end)
        named = None if gap is None else self._text_at(gap.end())
        own = self._after_own_text(label, end)
        if own > end and (named is None or own >= named[1]):
            return self._joined(label, own, closed=True)
        if gap is not None and named is not None and not set(gap.group()) & set(".,\n") and self._may_end(named[1]):
            return Named(None, named[1])
        return self._joined(label, end, closed=closed)

    def _joined(self, label: str | None, end: int, *, closed: bool) -> Named:
        """Read on after a choice: "(A) or (B)" names two, unless the second one begins a sentence of its own."""
        gap = end
        while self.read[gap : gap + 1] in tuple(CLOSERS):
            gap += 1
        join = _JOIN.match(self.read, gap)
        if join is not None and label is not None:
            other = self._bracketed(join.end())
            if other is None and join.group().strip() != ",":  # "(B), a bank ..." goes on with something else
                after = join.end()
                other = self._bare(after) or self._text_at(after) or self._by_shared_text(after)
            if other is not None and other[0] != label and not _VERB.match(self.read, self._after_own_text(*other)):
                return Named(None, other[1])
        return Named(label, end, closed)

    def _after_own_text(self, label: str, end: int) -> int:
        """End of a label's own text if it follows, also where two choices share it; otherwise the label's end."""
        gap = _AFTER_LABEL.match(self.read, end)
        own = None if gap is None else self._starting(self.names.own[label], gap.end())
        return end if own is None else own[1]

    def _bracketed(self, position: int) -> tuple[str, int] | None:
        """Label in brackets or quotes: "(B)", "[b]", "(option B)"."""
        if self.read[position : position + 1] not in tuple(_OPENERS):
            return None
        start = position + 1 + (self.read[position + 1 : position + 2] == " ")
        option = _OPTION.match(self.read, start)
        label = self._label_at(start if option is None else option.end())
        if label is None:
            return None
        end = label[1] + (self.read[label[1] : label[1] + 1] == " ")
        return (label[0], end + 1) if self.read[end : end + 1] in tuple(CLOSERS) else None

    def _bare(self, position: int) -> tuple[str, int] | None:
        """Label without brackets, where what follows shows that it is one and not a word such as "a"."""
        label = self._label_at(position)
        if label is None or self.read[position - 1 : position] == "-":
            return None
        end = label[1]
        following, second = self.read[end : end + 1], self.read[end + 1 : end + 2]
        if following != " ":
            inside = second.isalnum() and following in tuple(".,;!?'-_%°$")  # e.g., A's, B-52
            sentence = following == "." and second.isupper() and self.read[end + 2 : end + 3].islower()  # "B.The"
            return label if sentence or not inside else None
        text = self._text_at(end + 1)
        if (text is not None and text[0] == label[0]) or not second.isalnum() or FOLLOW.match(self.read, end):
            return label
        as_written = self.read[position:end]
        if text is not None and self._may_end(text[1]):  # "A library": an article where a line begins
            begins = position == 0 or self.read[position - 1] == "\n" or not self.read[:position].strip()
            return label if as_written.isupper() and not begins else None
        return label if _CAPITAL.fullmatch(as_written) else None

    def _label_at(self, position: int) -> tuple[str, int] | None:
        for name in self.names.labels:
            end = position + len(name.written)
            here = self.read.startswith(name.written, position)
            if not here and name.low is not None:
                here = self.low.startswith(name.low, position)
            if here and not _IN_A_WORD.match(self.read, end):
                return name.label, end
        return None

    def _text_at(self, position: int, *, article: bool = True) -> tuple[str, int] | None:
        """Longest choice text here, after an article if need be. It ends a word; whether it ends the claim is open."""
        after = _ARTICLE.match(self.read, position) if article else None
        for start in (position,) if after is None else (position, after.end()):
            if self.low[start : start + 1] in self.names.begin:
                found = self._starting(self.names.texts, start)
                if found is not None:
                    return found
        return None

    def _starting(self, texts: Sequence[tuple[str, str]], start: int) -> tuple[str, int] | None:
        for text, label in texts:
            end = start + len(text)
            if self.low.startswith(text, start) and not (
                _IN_A_WORD.match(text[-1]) and _IN_A_WORD.match(self.read, end)
            ):
                return label, end
        return None

    def _may_end(self, end: int) -> bool:
        """True where a choice's text is over here: "library." and "library because", but not "library card"."""
        following, second = self.read[end : end + 1], self.read[end + 1 : end + 2]
        if following in ("", "\n") or FOLLOW.match(self.read, end) or _JOIN.match(self.read, end):
            return True
        if following == " ":
            return not second.isalnum()
        return not following.isalnum() and not (second.isalnum() and following in tuple("-_'"))
