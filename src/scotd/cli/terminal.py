"""What reaches a terminal: nothing that a model or a file wrote may move the cursor, change colours or hide itself.

Colours are the program's own, and only where somebody looks: on a terminal, without NO_COLOR.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import click

from scotd.clean import clean


def safe(text: str) -> str:
    """Return a text with its control characters, escape codes and direction overrides made visible."""
    return str(clean(text))


def coloured() -> bool:
    """True where stdout is a terminal that shows colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def heading(title: str) -> str:
    """A line that opens a part of the output."""
    text = f"--- {safe(title)} ---"
    return click.style(text, bold=True) if coloured() else text


def indented(text: str, by: str = "    ") -> str:
    """A cleaned text of any number of lines, every line moved to the right."""
    return "\n".join(by + line if line else "" for line in safe(text).split("\n"))


def wrapped(text: str, first: str, then: str, width: int = 100) -> str:
    """A cleaned text as one paragraph: `first` stands before its first line, `then` before the others."""
    return "\n".join(
        wrap(" ".join(safe(text).split()), width, initial_indent=first, subsequent_indent=then, break_long_words=False)
        or [first.rstrip()]
    )


def table(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of a table; the first row is its header, numbers stand to the right."""
    cells = [[safe(_cell(value)) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row, values in zip(cells, rows, strict=True):
        yield "  ".join(
            cell.rjust(width) if isinstance(value, int | float) else cell.ljust(width)
            for cell, value, width in zip(row, values, widths, strict=True)
        ).rstrip()


def json_line(value: Any) -> str:
    """One line of JSON that is safe on a terminal too: what is not printable is escaped as JSON does."""
    text = json.dumps(value, ensure_ascii=False)
    plain = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    return "".join(
        character
        if character == " " or (character.isprintable() and (plain or character.isascii()))
        else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
