"""A tree of chains as one training row: what chains share is held once, exactly equal to separate sequences.

The idea of the project in one module. The chains of a question share the question, and many share their first words
too; equal chains are one path with the sum of their weights. A row is the trie of a prompt and its chains,

    chains      P a b c     P a b d     P e            (P: the prompt's tokens)
    row         p0 p1 p2 | a b | e ...                 what is only predicted (c, d: the ends) is no input at all
    segments    0: p0 p1 p2      1: a b, after 0       a segment is a run of tokens without a fork
    position    0  1  2 | 3 4                          a token's depth, as if its chain stood alone

and a token sees its ancestors and itself, nothing else. The hidden state at p2 predicts `a` *and* `e`, weighted by the
chains that go there: a loss term is (source state, target token, weight).

Three steps: `pack` (token ids -> `TreeRow`), `collate` (rows -> `TreeBatch`), then `forward.py` takes it through a
model. All rows of a batch stand behind each other in one long row, filled up once, to a number of tokens that products
like; only attention works on padded `Block`s, each some segments of similar length against their whole paths. Its cost
follows prompt + branches, not their product.

Shapes: T tokens and L loss terms over the whole batch, K states that predict something, T and K filled up to multiples
of `FILL` where that is little; in a block n segments, Q tokens in the longest of them and P in the longest path.

Related work shares prefixes for reinforcement learning (Prefix Grouper, arXiv 2506.05433); distillation wants it more,
because every question carries N chains (paper 2).
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from scotd.errors import ModelError

FILL = 32  # rows of a product: other numbers take a CPU up to twice as long in bfloat16 (docs/performance.md)
MOST_FILL = 0.05  # of what is filled up
BLOCK_COST = 20_000  # of one more block, in query x key pairs: about what a call of the attention kernel costs


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One chain in tokens, with its end token where the teacher finished it. `weight` scales each of its loss terms."""

    tokens: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Tokens start..end - 1 of a row, one after the other on every path that goes through them."""

    start: int
    end: int
    parent: int | None  # index of the segment that it goes on from, in the row


@dataclass(frozen=True, kw_only=True)
class TreeRow:
    """One packed row, on plain lists. `sources` are positions in `tokens`; `prompt` and `branches` count."""

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    segments: tuple[Segment, ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    weights: tuple[float, ...]
    prompt: int
    branches: int

    @property
    def longest_path(self) -> int:
        """Number of positions on the longest way from the first prompt token to the end of a branch."""
        return max(self.positions) + 2  # + 1 for counting from zero, + 1 for the end that is only predicted

    @cached_property
    def before(self) -> tuple[int, ...]:
        """For each token the one before it on its path, as a position in the row; -1 before the first."""
        found: list[int] = []
        for segment in self.segments:
            first = -1 if segment.parent is None else self.segments[segment.parent].end - 1
            found += [first, *range(segment.start, segment.end - 1)]
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Segments whose attention is computed together, padded to the longest.

    queries: (n, Q) int64, tokens of the batch. keys: (n, P) int64, the tokens of their paths from the root on. mask:
    (n, 1, Q, P) bool, True where a query sees a key: its ancestors and itself. Padding queries see the first key,
    padding keys are seen by nothing.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class TreeBatch:
    """Rows behind each other.

    tokens, positions: (T,) int64. blocks: attention, see `Block`. order: (T,) int64, where a token's result stands
    among the blocks' results. kept: (K,) int64, the tokens whose states predict. sources, targets: (L,) int64; sources
    index kept. weights: (L,) float32. What tokens and kept are filled up with is seen by no other token and is no
    loss term's source, so its gradients are zero.
    """

    tokens: Tensor
    positions: Tensor
    blocks: tuple[Block, ...]
    order: Tensor
    kept: Tensor
    sources: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> "TreeBatch":
        """The same on a device."""
        return replace(
            self,
            blocks=tuple(replace(block, **_moved(block, device)) for block in self.blocks),
            **_moved(self, device),
        )


def _moved(held: object, device: torch.device | str) -> dict[str, Any]:
    """The tensors among an object's fields, on a device."""
    return {name: value.to(device) for name, value in vars(held).items() if isinstance(value, Tensor)}


@dataclass
class _Node:
    """A token of the trie: what follows it, and the weight of the chains that go through it."""

    weight: float = 0.0
    children: "dict[int, _Node]" = field(default_factory=dict)


def pack(prompt: Sequence[int], branches: Sequence[Branch]) -> TreeRow:
    """Lay a prompt and its branches out as one row. Both must hold at least one token."""
    assert prompt and branches and all(branch.tokens for branch in branches)
    root = _Node()
    for branch in branches:
        node = root
        for token in branch.tokens:
            node = node.children.setdefault(token, _Node())
            node.weight += branch.weight
    tokens, positions = list(prompt), list(range(len(prompt)))
    bounds: list[list[int]] = [[0, len(prompt)]]
    parents: list[int | None] = [None]
    sources: list[int] = []
    targets: list[int] = []
    weights: list[float] = []

    def following(node: _Node, state: int, segment: int) -> list[tuple[_Node, int, int, int, bool]]:
        """What comes after a token, the last first: (node, its token, the state before it, segment, is alone)."""
        going_on = sum(bool(child.children) for child in node.children.values())
        return [(child, token, state, segment, going_on == 1) for token, child in reversed(node.children.items())]

    stack = following(root, len(prompt) - 1, 0)
    while stack:
        node, token, state, segment, alone = stack.pop()
        sources.append(state)
        targets.append(token)
        weights.append(node.weight)
        if not node.children:
            continue
        if not alone:
            bounds.append([len(tokens), len(tokens)])
            parents.append(segment)
            segment = len(bounds) - 1
        tokens.append(token)
        positions.append(positions[state] + 1)
        bounds[segment][1] += 1
        stack += following(node, len(tokens) - 1, segment)
    return TreeRow(
        tokens=tuple(tokens),
        positions=tuple(positions),
        segments=tuple(
            Segment(start=start, end=end, parent=parent) for (start, end), parent in zip(bounds, parents, strict=True)
        ),
        sources=tuple(sources),
        targets=tuple(targets),
        weights=tuple(weights),
        prompt=len(prompt),
        branches=len(branches),
    )


def paths(row: TreeRow) -> list[list[int]]:
    """For each segment the tokens on the way to its end, from the root on, as positions in the row."""
    found: list[list[int]] = []
    for segment in row.segments:  # a parent stands before its children
        before = [] if segment.parent is None else found[segment.parent]
        found.append([*before, *range(segment.start, segment.end)])
    return found


def terms_of(row: TreeRow, chains: Iterable[Sequence[int]]) -> list[list[int]]:
    """For each chain (or beginning of one) in a row its loss terms, in order."""
    term = {
        (source, target): number for number, (source, target) in enumerate(zip(row.sources, row.targets, strict=True))
    }
    state_after = {
        (before, token): state for state, (before, token) in enumerate(zip(row.before, row.tokens, strict=True))
    }
    found: list[list[int]] = []
    for chain in chains:
        state, terms = row.prompt - 1, []
        for token in chain:
            terms.append(term[state, token])
            state = state_after.get((state, token), -1)  # a token that nothing follows is no input: the chain ends here
        found.append(terms)
    return found


def collate(rows: Sequence[TreeRow]) -> TreeBatch:
    """Put rows behind each other and their segments into blocks."""
    starts = list(accumulate((len(row.tokens) for row in rows), initial=0))
    pieces: list[tuple[range, list[int]]] = []  # a segment's tokens and its path, in the batch
    sources: list[int] = []
    for row, start in zip(rows, starts, strict=False):
        for segment, path in zip(row.segments, paths(row), strict=True):
            pieces.append((range(start + segment.start, start + segment.end), [start + token for token in path]))
        sources += [start + source for source in row.sources]
    kept = sorted(set(sources))
    place = {token: number for number, token in enumerate(kept)}
    positions = [position for row in rows for position in row.positions]
    blocks, order = _blocks(pieces, positions)
    return TreeBatch(
        tokens=_filled([token for row in rows for token in row.tokens]),
        positions=_filled(positions),
        blocks=blocks,
        order=_filled(order),
        kept=_filled(kept),
        sources=torch.tensor([place[source] for source in sources]),
        targets=torch.tensor([target for row in rows for target in row.targets]),
        weights=torch.tensor([weight for row in rows for weight in row.weights], dtype=torch.float32),
    )


def _filled(numbers: list[int]) -> Tensor:
    """With more of the first up to a multiple of `FILL`, where it takes no more than `MOST_FILL` of them."""
    more = -len(numbers) % FILL
    return torch.tensor(numbers + numbers[:1] * (more if more <= MOST_FILL * len(numbers) else 0))


def _blocks(pieces: Sequence[tuple[range, list[int]]], positions: Sequence[int]) -> tuple[tuple[Block, ...], list[int]]:
    """Cut the segments, sorted by length, into blocks of least cost; and where each token's result will stand."""
    pieces = sorted(pieces, key=lambda piece: (len(piece[0]), len(piece[1]), piece[0].start))
    blocks: list[Block] = []
    order = [0] * len(positions)
    done = 0
    for start, end in _cuts([(len(tokens), len(path)) for tokens, path in pieces]):
        group = pieces[start:end]
        longest = len(group[-1][0])
        longest_path = max(len(path) for _, path in group)
        for number, (tokens, _) in enumerate(group):
            for offset, token in enumerate(tokens):
                order[token] = done + number * longest + offset
        done += len(group) * longest
        # A path starts at the root, so that its key j stands at depth j.
        depths = torch.tensor(
            [[*(positions[token] for token in tokens), *([0] * (longest - len(tokens)))] for tokens, _ in group]
        )
        blocks.append(
            Block(
                queries=torch.tensor([[*tokens, *([tokens[0]] * (longest - len(tokens)))] for tokens, _ in group]),
                keys=torch.tensor([[*path, *([path[0]] * (longest_path - len(path)))] for _, path in group]),
                mask=(torch.arange(longest_path) <= depths[:, :, None])[:, None],
            )
        )
    return tuple(blocks), order


def _cuts(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut sizes (queries, keys), ascending in queries, into groups of least padded area; groups cost too."""
    best: list[tuple[int, int]] = [(0, 0)]  # for the first `end` sizes: least cost, and where the last group starts
    for end in range(1, len(sizes) + 1):
        widest, found = 0, (0, 0)
        for start in range(end - 1, -1, -1):
            widest = max(widest, sizes[start][1])
            cost = (end - start) * sizes[end - 1][0] * widest + BLOCK_COST
            if start < end - 1 and cost > found[0]:
                break  # a wider group only costs more
            cost += best[start][0]
            if start == end - 1 or cost < found[0]:
                found = (cost, start)
        best.append(found)
    cuts: list[tuple[int, int]] = []
    end = len(sizes)
    while end:
        start = best[end][1]
        cuts.append((start, end))
        end = start
    return cuts[::-1]


def check_supported(model: Any, longest_path: int, remedy: str = "set training.max_length") -> None:
    """Refuse a model whose forward cannot take a tree exactly. Raises ModelError saying why, with the remedy.

    Attention must go through transformers' attention interface. A sliding window is harmless while no path is longer
    than it; recurrent, chunked or position-free layers cannot hold a tree.
    """
    config = model.config
    name = type(model).__name__
    parameters = inspect.signature(model.forward).parameters
    for needed in ("position_ids", "logits_to_keep", "attention_mask"):
        if needed not in parameters:
            raise ModelError(
                f"{name} takes no `{needed}`, so chains cannot share a prompt exactly: use another student."
            )
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder; students here are decoder-only language models.")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ModelError(f"{name} has layers of kind {', '.join(sorted(unknown))}, which cannot hold a tree of chains.")
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or getattr(config, "use_sliding_window", "layer_types" not in vars(config))
    if window is not None and slides and longest_path > window:
        raise ModelError(
            f"{name} attends through a window of {window} tokens and a row is {longest_path} long, which would have to "
            f"be cut at other places in every chain; {remedy} to {window} or less."
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest_path > positions:
        raise ModelError(
            f"{name} has {positions} positions and the longest question with its chain takes {longest_path}: "
            f"{remedy} to {positions} or less."
        )
