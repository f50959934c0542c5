"""The loss mask of one training row, for a person: which tokens carry loss, and what each branch is predicted from.

It reads the very row that training packs (`tree.pack`), so that what is shown is what is trained. On a terminal tokens
with loss are bright and the others dim; elsewhere tokens with loss stand in [brackets], each in its own, and the others
are parted by "|".
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from scotd.cli.terminal import coloured, safe
from scotd.tokens import Tokenizer, pieces

if TYPE_CHECKING:
    from scotd.tree import TreeRow

NEWLINE = "⏎"


def row_lines(row: "TreeRow", tokenizer: Tokenizer) -> Iterator[str]:
    """Lines of one row: the prompt, then every branch with the position that its first token is predicted from."""
    kept = [position for position, keep in enumerate(row.keep) if keep]
    starts = [number for number, source in enumerate(row.sources) if kept[source] < row.segments.count(0)]
    prompt = [token for token, segment in zip(row.tokens, row.segments, strict=True) if segment == 0]
    yield f"prompt: {len(prompt)} tokens without loss, computed once for {_counted(len(starts), 'branch', 'branches')}"
    yield _marked(prompt, tokenizer, loss=False)
    for number, (start, end) in enumerate(pairwise([*starts, len(row.sources)]), 1):
        targets = row.targets[start:end]
        origin = kept[row.sources[start]]
        before, _ = pieces(tokenizer, [row.tokens[origin]])[0]
        weight = "" if row.weights[start] == 1 else f", weight {row.weights[start]:g}"
        yield ""
        yield (
            f"branch {number}: {len(targets)} tokens with loss{weight}; the first is predicted from the prompt's last "
            f"token '{_visible(before)}' (position {origin}), each other from the one before it"
        )
        yield _marked(targets, tokenizer, loss=True)


def _marked(tokens: Sequence[int], tokenizer: Tokenizer, *, loss: bool) -> str:
    shown = []
    colour = coloured()
    for text, count in pieces(tokenizer, tokens):
        piece = _visible(text) + (f"×{count}" if count > 1 else "")
        if colour:
            piece = click.style(piece, fg="bright_green", bold=True) if loss else click.style(piece, dim=True)
        elif loss:
            piece = f"[{piece}]"
        shown.append(piece + "\n" * text.count("\n"))
    return "\n".join("    " + line for line in ("" if loss and not colour else "|").join(shown).split("\n"))


def _visible(text: str) -> str:
    return safe(text).replace("\n", NEWLINE).replace("\t", "⇥")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
