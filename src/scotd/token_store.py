"""Training examples in tokens, in a file: feeding the trainer takes no memory that grows with the corpus.

    examples = TokenStore.of(tokenize(examples, tokenizer, max_length), folder)
    examples[7].branches

The file has no name: it is gone with the process. A record is a run of int32,

    prompt length, number of branches, length of each branch, weight of each branch (float32), prompt, branches

and in memory stays where each record starts and how many branches it has: 16 bytes an example.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from scotd.tokens import Tokenizer, encode_prompt, encode_target
from scotd.tree import Branch
from scotd.types import TrainingExample


@dataclass(frozen=True, kw_only=True)
class TokenExample:
    """A training example in tokens: the prompt once, and its branches."""

    prompt: tuple[int, ...]
    branches: tuple[Branch, ...]


def tokenize(examples: Iterable[TrainingExample], tokenizer: Tokenizer, max_length: int) -> Iterator[TokenExample]:
    """Token ids of every example. A chain of more than `max_length` tokens, question included, is left out.

    It is never cut: cutting would delete its answer. An example of which no chain is left is left out itself.
    """
    for example in examples:
        prompt = encode_prompt(tokenizer, example.prompt)
        targets = (
            (encode_target(tokenizer, text, finished=finished), weight)
            for text, finished, weight in zip(example.targets, example.finished, example.weights, strict=True)
        )
        branches = tuple(
            Branch(tokens=tuple(tokens), weight=weight)
            for tokens, weight in targets
            if len(prompt) + len(tokens) <= max_length
        )
        if branches:
            yield TokenExample(prompt=tuple(prompt), branches=branches)


class TokenStore(Sequence[TokenExample]):
    """Examples that are read from a file as they are asked for. `branch_counts` is by example."""

    def __init__(self, values: "np.ndarray[tuple[int], np.dtype[np.int32]] | None", starts: "array[int]") -> None:
        self._values = values
        self._starts = starts
        self.branch_counts: array[int] = array("q")
        if values is not None:
            self.branch_counts.extend(int(values[start + 1]) for start in starts)

    @classmethod
    def of(cls, examples: Iterable[TokenExample], folder: Path) -> "TokenStore":
        """Write examples to a nameless file in a folder, one at a time."""
        starts = array("q")
        written = 0
        with tempfile.TemporaryFile(dir=folder) as file:
            for example in examples:
                record = _record(example)
                starts.append(written)
                written += len(record)
                file.write(record.tobytes())
            file.flush()
            values = np.memmap(file, dtype=np.int32, mode="r") if written else None  # holds the file open
        return cls(values, starts)

    def __reduce__(self) -> tuple[type["TokenStore"], tuple[object, "array[int]"]]:
        """To another process it goes whole, through memory: the file has no name."""
        return TokenStore, (None if self._values is None else np.array(self._values), self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> TokenExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenExample]: ...
    def __getitem__(self, index: int | slice) -> TokenExample | list[TokenExample]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        assert self._values is not None
        at = self._starts[index]
        prompt, branches = (int(value) for value in self._values[at : at + 2])
        lengths = self._values[at + 2 : at + 2 + branches].tolist()
        weights = self._values[at + 2 + branches : at + 2 + 2 * branches].view(np.float32).tolist()
        at += 2 + 2 * branches
        tokens = self._values[at : at + prompt + sum(lengths)].tolist()
        read = iter(tokens[prompt:])
        return TokenExample(
            prompt=tuple(tokens[:prompt]),
            branches=tuple(
                Branch(tokens=tuple(islice(read, length)), weight=weight)
                for length, weight in zip(lengths, weights, strict=True)
            ),
        )


def _record(example: TokenExample) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    lengths = [len(branch.tokens) for branch in example.branches]
    weights = np.array([branch.weight for branch in example.branches], dtype=np.float32).view(np.int32)
    tokens = [*example.prompt, *(token for branch in example.branches for token in branch.tokens)]
    head = np.array([len(example.prompt), len(lengths), *lengths], dtype=np.int32)
    return np.concatenate([head, weights, np.array(tokens, dtype=np.int32)])
