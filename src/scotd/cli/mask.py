"""The loss mask of one training row, for a person: which tokens carry loss, and what each branch is predicted from.

It reads the very row that training packs (`tree.pack`), so that what is shown is what is trained. On a terminal tokens
with loss are bright and the others dim; elsewhere tokens with loss stand in [brackets], each in its own, and the others
are parted by "|".
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from scotd.cli.terminal import coloured, safe
from scotd.tokens import Tokenizer, pieces

if TYPE_CHECKING:
    from scotd.tree import TreeRow

NEWLINE = "⏎"


def row_lines(row: "TreeRow", tokenizer: Tokenizer) -> Iterator[str]:
    """Lines of one row: the prompt, then every run of tokens with what its first is predicted from."""
    chains = _counted(row.branches, "chain", "chains")
    yield f"prompt: {row.prompt} tokens without loss, computed once for {chains}"
    yield _marked(row.tokens[: row.prompt], tokenizer, loss=False)
    for number, (start, end) in enumerate(_runs(row), 1):
        targets = row.targets[start:end]
        origin = row.sources[start]
        before, _ = pieces(tokenizer, [row.tokens[origin]])[0]
        where = "the prompt's last token" if origin == row.prompt - 1 else "token"
        weight = "" if row.weights[start] == 1 else f", weight {row.weights[start]:g} (of all chains that begin so)"
        yield ""
        yield (
            f"branch {number}: {_counted(len(targets), 'token', 'tokens')} with loss{weight}; the first is predicted "
            f"from {where} '{_visible(before)}' (position {row.positions[origin]}), each other from the one before it"
        )
        yield _marked(targets, tokenizer, loss=True)


def _runs(row: "TreeRow") -> Iterator[tuple[int, int]]:
    """Cut the loss terms where a term does not go on from the one before it, or weighs otherwise."""
    start = 0
    for term in range(1, len(row.targets) + 1):
        if term < len(row.targets):
            source = row.sources[term]
            goes_on = source >= row.prompt and row.sources[term - 1] == row.before[source]
            goes_on = goes_on and row.tokens[source] == row.targets[term - 1]
            if goes_on and row.weights[term] == row.weights[term - 1]:
                continue
        yield start, term
        start = term


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
