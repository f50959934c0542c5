"""Texts that a model or a user wrote, made harmless to look at: escaping is for markup, this is for the eye.

A control character, an escape code of a terminal or a direction override can make a text show as something it is not,
in a page as well as in a terminal that prints `results.md`.
"""

import unicodedata
from typing import Any

from markupsafe import Markup

# Direction embeddings, overrides and isolates: they can make a text read as another. Plain marks and joiners stay:
# Arabic, Hebrew, Indic scripts and emoji need them, and the page isolates every text's direction anyway.
_DIRECTION = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def clean(value: Any) -> Any:
    """Make a text safe to show: control characters become their pictures (␛), the rest of the harmful ones <U+202E>.

    Line feeds and tabs stay, carriage returns before a line feed go. Markup made by this package passes as it is.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or character.isprintable():
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or code in _DIRECTION or noncharacter:
        return f"<U+{code:04X}>"
    return character


def cleaned(value: Any) -> Any:
    """Apply `clean` to every text of nested data; used where texts leave Jinja2's sight (plots, Markdown, JSON)."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(inner) for inner in value]
    return value


def line(text: str) -> str:
    """Return a cleaned text on one line."""
    return " ".join(str(clean(text)).split())
