"""Which words of a text another one does not have at that place."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST_WORDS = 600  # comparing takes the square of it


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a text; `differs` where the other text has something else, or nothing."""

    text: str
    differs: bool


def marked(text: str, other: str) -> tuple[Piece, ...]:
    """Cut a text into stretches that the other one shares and stretches that differ, word by word.

    Texts of more than 600 words are not compared: one stretch.
    """
    words, others = (re.findall(r"\s*\S+", one) for one in (text, other))
    if max(len(words), len(others)) > MOST_WORDS:
        return (Piece(text=text, differs=False),)
    matcher = SequenceMatcher(None, [word.strip() for word in others], [word.strip() for word in words], autojunk=False)
    return tuple(
        Piece(text="".join(words[start:end]), differs=kind != "equal")
        for kind, _, _, start, end in matcher.get_opcodes()
        if end > start
    )
