"""Blocks of chains to be written, and what writes them: here (`decode.py`), or on many machines (`fleet.py`).

    blocks (a caller plans them) -> Writer -> each block with its chains, in the order in which they are done

A block is decoded whole, in its own company, so its chains are the same wherever it is written. It is pulled when it
is about to be written and not before; who plans blocks can therefore note down beforehand that they are sent.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from scotd.tokens import Tokenizer, common_prefix
from scotd.types import Completion, SamplingParams

T = TypeVar("T")

MIN_SHARED = 16  # tokens: a shorter shared beginning is not worth a level of its own

Written = list[list[Completion]]
"""The chains of a block, in the order of its prompts and of each prompt's seeds."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Prompts as token ids, one seed for each chain of each prompt, and how to draw."""

    prompts: tuple[tuple[int, ...], ...]
    seeds: tuple[tuple[int, ...], ...]
    sampling: SamplingParams

    def __post_init__(self) -> None:
        assert self.prompts and len(self.prompts) == len(self.seeds) and all(self.seeds), self


class Writer(Protocol):
    """Something that writes blocks with one model."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def shared(self) -> tuple[int, ...]:
        """What every prompt of the blocks to come begins with; it is computed once."""
        ...

    def share(self, prompts: Sequence[Sequence[int]]) -> int:
        """Settle what is `shared`: the beginning of all these prompts. Returns its length, 0 where it is too short."""
        ...

    def write(self, blocks: Iterable[tuple[T, Block]]) -> Iterator[tuple[T, Written]]:
        """Yield each block's chains once, with what the caller knows the block by."""
        ...


def shared_beginning(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What all prompts begin with, short of the shortest one's last token; empty where it is not worth sharing."""
    length = common_prefix([list(prompt) for prompt in prompts]) if len(prompts) > 1 else 0
    return tuple(prompts[0][:length]) if length >= MIN_SHARED else ()
