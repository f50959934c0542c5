"""Keys and values on three levels of the tree, and attention over them under one softmax.

    the beginning that all prompts of a stage share    held once for all rows        `Prefix`
    a question                                         held once for its chains      `Questions`
    a chain's own tokens                               a row each, preallocated      `OwnCache`

Scores of the levels stand side by side before the softmax, so that it is the same softmax, merged exactly; each level
is one large product instead of one a row (Hydragen, arXiv 2402.05099). It goes through the attention and cache
interfaces of transformers, so that no model code is copied.

Shapes: B rows, H query heads, G key-value heads, Q queries, D head size; P prefix tokens, n questions of at most U
tokens with s places for chains each, T own tokens so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from scotd.forward import refuse_unknown

ATTENTION = "scotd_levels"


class OwnTokens(CacheLayerMixin):
    """Keys and values of one layer in memory allocated once: (B, G, capacity, D), of which `count` rows and `length`
    tokens are in use."""

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self.capacity, size)
        self.values = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        count, end = key_states.shape[0], self.length + key_states.shape[2]
        self.keys[:count, :, self.length : end] = key_states
        self.values[:count, :, self.length : end] = value_states
        self.length = end
        return self.keys[:count, :, :end], self.values[:count, :, :end]

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Overwrite rows that are done with rows that go on."""
        for held in (self.keys, self.values):
            held[targets, :, : self.length] = held[sources, :, : self.length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


class OwnCache(Cache):
    """The `OwnTokens` of every layer."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.own = [OwnTokens(capacity) for _ in range(layers)]
        super().__init__(layers=list(self.own))

    def move(self, sources: Tensor, targets: Tensor) -> None:
        for layer in self.own:
            layer.move(sources, targets)


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The beginning that all rows share: token ids, and per layer its keys and values (G, P, D)."""

    tokens: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """What the chains of a question share: per layer keys and values (n, G, U, D).

    visible: (n, U) bool, False on padding. places: (B,) int64, row's question x s + its place among the chains; a chain
    that has ended leaves its place empty.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    visible: Tensor
    places: Tensor
    slots: int

    def spread(self, rows: Tensor) -> Tensor:
        """(B, G, m, D) -> (n, G, s x m, D), with zeros in empty places."""
        groups, each, size = rows.shape[1:]
        spread = rows.new_zeros(len(self.visible) * self.slots, groups, each, size)
        spread[self.places] = rows
        return spread.view(-1, self.slots, groups, each, size).transpose(1, 2).flatten(2, 3)

    def gather(self, spread: Tensor) -> Tensor:
        """The way back: (n, G, s x m, D) -> (B, G, m, D)."""
        found: Tensor = spread.unflatten(2, (self.slots, -1)).transpose(1, 2).flatten(0, 1)
        return found[self.places]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The levels above a row's own tokens."""

    prefix: Prefix | None = None
    questions: Questions | None = None


def level_attention(  # noqa: PLR0917 - the signature is transformers'
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    shared: Shared | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attention over what is shared and a row's own tokens.

    query (B, H, Q, D); key, value (B, G, T, D); attention_mask (B, 1, Q, T) bool over own tokens, None where all are
    visible. Returns (B, Q, H, D), as transformers' attention functions do.
    """
    refuse_unknown(module, options, None)
    rows, heads, queries, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    groups = key.shape[1]
    assert shared is not None, "a model that loses keyword arguments on their way would write without its question"
    prefix, questions = shared.prefix, shared.questions
    if prefix is None and questions is None:
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scale, enable_gqa=heads != groups
        )
        return out.transpose(1, 2).contiguous(), None
    layer = cast(int, module.layer_idx)
    grouped = query.reshape(rows, groups, -1, size)  # (B, G, H / G x Q, D)
    scores: list[Tensor] = []
    if prefix is not None:
        scores.append(_on_prefix(grouped, prefix.keys[layer].transpose(1, 2)))
    if questions is not None:
        found = torch.matmul(questions.spread(grouped), questions.keys[layer].transpose(2, 3))
        found = found.masked_fill(~questions.visible[:, None, None], torch.finfo(found.dtype).min)
        scores.append(questions.gather(found))
    own = torch.matmul(grouped, key.transpose(2, 3))
    if attention_mask is not None:
        per_head = own.view(rows, groups, heads // groups, queries, -1)
        own = per_head.masked_fill(~attention_mask[:, :, None], torch.finfo(own.dtype).min).view(own.shape)
    scores.append(own)
    together = torch.cat(scores, dim=-1)
    wide = torch.promote_types(together.dtype, torch.float32)
    weights = together.to(wide).mul_(scale).softmax(dim=-1).to(query.dtype)
    parts = list(weights.split([part.shape[-1] for part in scores], dim=-1))
    out = torch.matmul(parts.pop(), value)
    if questions is not None:
        out = out + questions.gather(torch.matmul(questions.spread(parts.pop()), questions.values[layer]))
    if prefix is not None:
        out = out + _on_prefix(parts.pop(), prefix.values[layer])
    return out.reshape(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


def _on_prefix(rows: Tensor, held: Tensor) -> Tensor:
    """(B, G, m, a) x (G, a, b) -> (B, G, m, b): one product a group for all rows together."""
    count, groups, each, size = rows.shape
    stacked = rows.transpose(0, 1).reshape(groups, count * each, size)
    return torch.matmul(stacked, held).view(groups, count, each, -1).transpose(0, 1)


AttentionInterface.register(ATTENTION, level_attention)


def keys_and_values(cache: OwnCache) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """What a cache holds, per layer, (B, G, T, D)."""
    return [layer.keys[:, :, : layer.length] for layer in cache.own], [
        layer.values[:, :, : layer.length] for layer in cache.own
    ]
