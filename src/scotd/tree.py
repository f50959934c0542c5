"""Prefix + branches: one row that holds a prompt once and all its chains, exactly equal to separate sequences.

The idea of the project in one module. A row is laid out as

    tokens     p0 p1 p2 | a0 a1 | b0 b1 b2
    segment     0  0  0 |  1  1 |  2  2  2      -1 is padding
    position    0  1  2 |  3  4 |  3  4  5      positions restart after the prompt

and a token sees the prompt and its own branch, nothing else. The hidden state at p2 predicts a0 *and* b0: it is kept
once and gathered once per branch. The last token of a branch is only ever predicted, so it is not an input at all.

Three steps: `pack` (token ids -> `TreeRow`), `collate` (rows -> `TreeBatch`), `branch_loss` (logits -> loss).
Shapes: B rows, S tokens in the longest row, K kept hidden states and L loss terms over the whole batch, V vocabulary.

Related work shares prefixes for reinforcement learning (Prefix Grouper, arXiv 2506.05433); distillation wants it more,
because every question carries N chains (paper 2).
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scotd.errors import ModelError

PADDING = -1
PROMPT = 0


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One chain in tokens, with its end token where the teacher finished it. `weight` scales each of its loss terms."""

    tokens: tuple[int, ...]
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TreeRow:
    """One packed row, on plain lists. `keep` marks positions whose logits are needed; `sources` index into those."""

    tokens: tuple[int, ...]
    segments: tuple[int, ...]
    positions: tuple[int, ...]
    keep: tuple[bool, ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    weights: tuple[float, ...]
    branches: int

    @property
    def longest_path(self) -> int:
        """Number of positions on the longest way from the first prompt token to the end of a branch."""
        return max(self.positions) + 2  # + 1 for counting from zero, + 1 for the end that is only predicted


@dataclass(frozen=True, kw_only=True)
class TreeBatch:
    """Rows as tensors, right-padded.

    tokens, positions: (B, S) int64. mask: (B, 1, S, S) bool, True where a query may look. keep: (B, S) bool.
    sources, targets: (L,) int64; sources index the K kept states in row-major order. weights: (L,) float32.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    keep: Tensor
    sources: Tensor
    targets: Tensor
    weights: Tensor


def pack(prompt: Sequence[int], branches: Sequence[Branch]) -> TreeRow:
    """Lay a prompt and its branches out as one row. Both must hold at least one token."""
    assert prompt and branches and all(branch.tokens for branch in branches)
    tokens, segments, positions = list(prompt), [PROMPT] * len(prompt), list(range(len(prompt)))
    keep = [False] * (len(prompt) - 1) + [True]
    sources: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    kept = 1  # the prompt's last state is kept state 0
    for segment, branch in enumerate(branches, start=1):
        inputs = branch.tokens[:-1]
        tokens += inputs
        segments += [segment] * len(inputs)
        positions += range(len(prompt), len(prompt) + len(inputs))
        keep += [True] * len(inputs)
        sources += [0, *range(kept, kept + len(inputs))]
        targets += branch.tokens
        weights += [branch.weight] * len(branch.tokens)
        kept += len(inputs)
    return TreeRow(
        tokens=tuple(tokens),
        segments=tuple(segments),
        positions=tuple(positions),
        keep=tuple(keep),
        sources=tuple(sources),
        targets=tuple(targets),
        weights=tuple(weights),
        branches=len(branches),
    )


def unpack(row: TreeRow) -> tuple[list[int], list[Branch]]:
    """Invert `pack`: the prompt's tokens and the branches, in order."""
    prompt = [token for token, segment in zip(row.tokens, row.segments, strict=True) if segment == PROMPT]
    branches: list[Branch] = []
    start = 0
    while start < len(row.sources):
        end = start + 1
        while end < len(row.sources) and row.sources[end] != 0:
            end += 1
        branches.append(Branch(tokens=row.targets[start:end], weight=row.weights[start]))
        start = end
    return prompt, branches


def visible(segments: Tensor) -> Tensor:
    """Attention mask of packed rows: segments (B, S) -> (B, 1, S, S) bool, True where the query (dim 2) sees the key.

    A token sees earlier tokens of the prompt and of its own branch. Padding sees itself only, so that no row of the
    softmax is empty; nothing sees padding.
    """
    size = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(size, size, dtype=torch.bool, device=segments.device).tril()
    itself = torch.eye(size, dtype=torch.bool, device=segments.device)
    same_path = (key == PROMPT) | (key == query)
    mask = (causal & same_path & (key != PADDING) & (query != PADDING)) | itself
    return mask[:, None]


def collate(rows: Sequence[TreeRow], pad_token: int) -> TreeBatch:
    """Pad rows on the right to the longest one and stack them. The loss terms of all rows are concatenated."""
    size = max(len(row.tokens) for row in rows)

    def padded(values: Sequence[int], fill: int) -> list[int]:
        return [*values, *([fill] * (size - len(values)))]

    segments = torch.tensor([padded(row.segments, PADDING) for row in rows])
    sources: list[int] = []
    kept = 0
    for row in rows:
        sources += [kept + source for source in row.sources]
        kept += sum(row.keep)
    return TreeBatch(
        tokens=torch.tensor([padded(row.tokens, pad_token) for row in rows]),
        positions=torch.tensor([padded(row.positions, 0) for row in rows]),
        mask=visible(segments),
        keep=torch.tensor([padded(row.keep, False) for row in rows], dtype=torch.bool),
        sources=torch.tensor(sources),
        targets=torch.tensor([target for row in rows for target in row.targets]),
        weights=torch.tensor([weight for row in rows for weight in row.weights], dtype=torch.float32),
    )


def model_inputs(batch: TreeBatch, attention: str, dtype: torch.dtype) -> dict[str, object]:
    """Arguments for a transformers causal model's own forward; its logits come back as (K, V).

    `attention` is the model's implementation: "sdpa" takes the boolean mask, "eager" adds one, so it gets 0 and -inf
    (the finite minimum of `dtype`, since a softmax row is never empty).
    """
    mask = batch.mask
    if attention == "eager":
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    return {
        "input_ids": batch.tokens,
        "position_ids": batch.positions,
        "attention_mask": mask,
        "logits_to_keep": batch.keep,
        "use_cache": False,
    }


def branch_loss(logits: Tensor, batch: TreeBatch) -> Tensor:
    """Weighted sum over branch tokens of -log p(token), in float32 or better; not divided by anything.

    logits: (K, V) at the kept positions. Returns a scalar. The caller divides by the total weight of the whole
    optimizer step, so that accumulation and several processes equal one big batch (paper 2, step 4).
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    normaliser = wide.logsumexp(dim=-1)  # once per kept state, though the prompt's last state serves every branch
    losses = normaliser[batch.sources] - wide[batch.sources, batch.targets]
    return (losses * batch.weights.to(losses.dtype)).sum()


def check_supported(model: torch.nn.Module, longest_path: int, remedy: str = "set training.max_length") -> None:
    """Refuse a model whose forward cannot take a tree exactly. Raises ModelError saying why, with the remedy.

    Full attention takes the mask as it is. A sliding window is harmless while no path is longer than it; recurrent,
    chunked or position-free layers are not.
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
            f"{name} attends through a window of {window} tokens and a row is {longest_path} long: a tree would be "
            f"cut at other places than its chains; {remedy} to {window} or less."
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest_path > positions:
        raise ModelError(
            f"{name} has {positions} positions and the longest question with its chain takes {longest_path}: "
            f"{remedy} to {positions} or less."
        )


def total_weight(rows: Iterable[TreeRow]) -> float:
    """Sum of the loss terms' weights: the divisor of one optimizer step."""
    return sum(sum(row.weights) for row in rows)
