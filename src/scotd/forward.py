"""A batch of trees through a transformers model: attention over blocks, the loss without its logits.

    with attention_of(model, ATTENTION):
        loss = tree_loss(model, batch, plain_head=head_is_plain(model))

Both go through the model's own forward, so that wrappers (DDP, FSDP, gradient checkpointing) see what they expect: the
attention through transformers' attention interface, the loss in the place of the output head. Logits of a whole batch
in float32 would be the largest thing in memory; `ChunkedLoss` makes some rows of them at a time and forms their
gradient in the same pass. A model that changes its logits after the head (soft-capping, scaling) is noticed by
`head_is_plain` and gets its logits whole.

Shapes as in `tree.py`; H query heads, G key-value heads, D head size, E hidden size, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface

from scotd.device import product_dtype
from scotd.errors import ModelError
from scotd.tree import FILL, Block, TreeBatch

ATTENTION = "scotd_tree"
PLAIN_KEYS = 512  # longer paths take torch's own attention kernel
GROUP_BYTES = 256 << 20  # of logits, narrow: each product with them passes over the whole head
CHUNK_BYTES = 64 << 20  # of float32 logits at a time
CACHED_BYTES = 4 << 20  # the same for the loss on a CPU, whose caches hold so much


def block_attention(  # noqa: PLR0917 - the signature is transformers'
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    tree: TreeBatch | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attention of every token over its ancestors and itself.

    query (1, H, T, D); key, value (1, G, T, D). Returns (1, T, H, D), as transformers' attention functions do.
    """
    refuse_unknown(module, options, attention_mask)
    assert tree is not None and query.shape[0] == 1, "a tree batch is one row"
    heads, groups, size = query.shape[1], key.shape[1], query.shape[3]
    dtype = product_dtype(query)
    queries, keys, values = (states[0].to(dtype).transpose(0, 1).flatten(1) for states in (query, key, value))
    results = [
        _attend(
            _gather(queries, block.queries, heads),
            _gather(keys, block.keys, groups),
            _gather(values, block.keys, groups),
            block=block,
            scaling=size**-0.5 if scaling is None else scaling,
        )
        for block in tree.blocks
    ]
    return torch.cat(results).index_select(0, tree.order).view(1, -1, heads, values.shape[1] // groups), None


def _gather(states: Tensor, index: Tensor, heads: int) -> Tensor:
    """Rows of (T, heads x D) by an index (n, Q) -> (n, heads, Q, D)."""
    return states.index_select(0, index.flatten()).view(*index.shape, heads, -1).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, *, block: Block, scaling: float) -> Tensor:
    """One block: (n, H, Q, D) over (n, G, P, D) -> (n x Q, H x D).

    On a CPU short paths go through plain matrix products: torch's fused kernel is made for long sequences and takes
    three times as long at these sizes. Elsewhere, and for long paths, whose scores would fill memory, it is the better.
    """
    if query.device.type == "cpu" and key.shape[2] <= PLAIN_KEYS:
        out = _plain_attention(query, key, value, block.mask, scaling)
    else:
        grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(query, key, value, attn_mask=block.mask, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2).flatten(0, 1)


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Masked attention as matrix products, the query heads of a group side by side: query (n, H, Q, D), key and value
    (n, G, P, D), mask (n, 1, Q, P) bool -> (n, H, Q, D). A softmax adds up in float32 or better."""
    rows, heads, queries, _ = query.shape
    groups = rows * key.shape[1]
    unseen = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
    unseen = unseen.expand(rows, heads, queries, -1).reshape(groups, -1, mask.shape[3])
    grouped, key, value = (states.reshape(groups, -1, states.shape[3]) for states in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.baddbmm(unseen, grouped, key.transpose(1, 2), alpha=scaling)
        return (scores.softmax(dim=-1) @ value).view(rows, heads, queries, -1)


def refuse_unknown(module: torch.nn.Module, options: dict[str, object], own_mask: Tensor | None) -> None:
    """Raise ModelError where a layer wants its attention changed in a way that is not done here."""
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    unknown += ["a mask of its own"] if own_mask is not None else []
    if unknown:
        raise ModelError(
            f"{type(module).__name__} attends with {unknown[0]}, which a tree of chains cannot do exactly."
        )


# Compiled layers call it as it is: every new number of blocks would compile them anew.
AttentionInterface.register(ATTENTION, torch.compiler.disable(block_attention))


@contextmanager
def attention_of(model: Any, implementation: str) -> Iterator[None]:
    """Switch a model to an attention implementation, and back.

    Raises ModelError where its layers have an attention of their own: transformers only warns then, and goes on.
    """
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(implementation)
        if model.config._attn_implementation != implementation:
            raise ModelError(
                f"{type(model).__name__} computes attention by itself and not through transformers' interface for it, "
                "so chains cannot share a prompt exactly: use another model."
            )
        yield
    finally:
        model.set_attn_implementation(before)


class ChunkedLoss(torch.autograd.Function):
    """-log p(target), weighted and summed over the loss terms, from the states before the head.

    Takes states (K, E), the head's weight (V, E) and bias (V,) or None, then sources, targets, weights (L,) and the
    rows in a chunk. The head's product is computed in the states' dtype, the rest in float32 or better. Gradients are
    formed in the forward pass, as a chunk's logits are at hand: backward only scales them. A state that predicts for
    several chains has their weight multiplied into its row of E, not into its V logits.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd's positional signature
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        sources: Tensor,
        targets: Tensor,
        weights: Tensor,
        chunk: int,
    ) -> Tensor:
        wide = torch.promote_types(states.dtype, torch.float32)
        head, add = weight.to(states.dtype), None if bias is None else bias.to(states.dtype)
        wants_states, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        for_states = torch.empty_like(states) if wants_states else None
        for_weight: Tensor | None = None
        for_bias = (
            torch.zeros(bias.shape, dtype=wide, device=weight.device) if bias is not None and wants_bias else None
        )
        by_source = sources.argsort(stable=True)
        sources, targets, weights = sources[by_source], targets[by_source], weights[by_source].to(wide)
        mass = torch.zeros(len(states), dtype=wide, device=states.device).index_add_(0, sources, weights)
        parts = weights / mass[sources].clamp_min(torch.finfo(wide).tiny)  # of its state's weight; filling has none
        bounds = torch.searchsorted(sources, torch.arange(0, len(states) + chunk, chunk, device=states.device)).tolist()
        total = torch.zeros((), dtype=wide, device=states.device)
        unit = math.lcm(chunk, FILL)  # a group's product has rows as `tree.FILL` wants them, and whole chunks
        group = unit * max(1, GROUP_BYTES // (unit * weight.shape[0] * states.element_size()))
        for first in range(0, len(states), group):
            inside = states[first : first + group]
            held = linear(inside, head, add)  # logits, which their gradients replace chunk by chunk
            for start in range(first, first + len(held), chunk):
                terms = slice(bounds[start // chunk], bounds[start // chunk + 1])
                source, target = sources[terms] - start, targets[terms]
                logits = held[start - first : start - first + chunk]
                greatest = logits.amax(dim=-1).to(wide)
                chosen = logits[source, target].to(wide)
                gradient = logits.to(wide).softmax(dim=-1)
                normaliser = greatest - gradient.amax(dim=-1).log()
                total += (weights[terms] * (normaliser[source] - chosen)).sum()
                gradient.index_put_((source, target), -parts[terms], accumulate=True)
                if for_bias is not None:
                    for_bias += mass[start : start + chunk] @ gradient
                logits.copy_(gradient)
            heavy = mass[first : first + group, None].to(states.dtype)
            if for_states is not None:
                torch.mm(held, head, out=for_states[first : first + group]).mul_(heavy)
            if wants_weight:
                product = held.T @ (inside * heavy)  # a single one stays narrow until the logits are gone
                for_weight = product if for_weight is None else for_weight.to(wide).add_(product)
            del held, logits  # before the next group's take their place
        ctx.save_for_backward(for_states, for_weight, for_bias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias = ctx.saved_tensors
        return (
            None if states is None else states * scale,
            None if weight is None else (weight.to(scale.dtype).mul_(scale)).to(ctx.dtypes[0]),
            None if bias is None else (bias * scale).to(ctx.dtypes[1]),
            *[None] * 4,
        )


def _inputs(batch: TreeBatch) -> dict[str, object]:
    return {
        "input_ids": batch.tokens[None],
        "position_ids": batch.positions[None],
        "attention_mask": None,
        "logits_to_keep": batch.kept,
        "use_cache": False,
        "tree": batch,
    }


def tree_loss(model: Any, batch: TreeBatch, *, plain_head: bool, inner: Any = None) -> Tensor:
    """Weighted sum over the loss terms of -log p(token), in float32 or better; not divided by anything.

    `model` may be wrapped (DDP, FSDP); `inner` is then the model itself. The caller divides by the total weight of the
    whole optimizer step, so that accumulation and several processes equal one big batch (paper 2, step 4).
    """
    if not plain_head:
        return logits_loss(model(**_inputs(batch)).logits[0], batch)

    def in_chunks(states: Tensor, head: Any) -> Tensor:
        chunk = rows_within(len(head.weight), CACHED_BYTES if states.device.type == "cpu" else CHUNK_BYTES)
        found: Tensor = ChunkedLoss.apply(
            states, head.weight, head.bias, batch.sources, batch.targets, batch.weights, chunk
        )
        return found

    with _in_the_head((inner or model).get_output_embeddings(), in_chunks):
        loss: Tensor = model(**_inputs(batch)).logits
    return loss


def logits_loss(logits: Tensor, batch: TreeBatch) -> Tensor:
    """The same loss from the logits (K, V) of the kept tokens."""
    logprobs = _logprobs(logits, batch.sources, batch.targets)
    return -(logprobs * batch.weights.to(logprobs.dtype)).sum()


def _logprobs(logits: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    """log p(target) after each source, in float32 or better; normalised once a row, though one may predict several."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide[sources, targets] - wide.logsumexp(dim=-1)[sources]


@torch.inference_mode()
def tree_logprobs(model: Any, batch: TreeBatch, *, plain_head: bool) -> Tensor:
    """log p(token) of every loss term, (L,) float32 or better, in nats."""
    if not plain_head:
        return _logprobs(model(**_inputs(batch)).logits[0], batch.sources, batch.targets)

    def in_chunks(states: Tensor, head: Any) -> Tensor:
        weight, bias = head.weight.to(states.dtype), None if head.bias is None else head.bias.to(states.dtype)
        found = batch.weights.new_empty(len(batch.targets), dtype=torch.promote_types(states.dtype, torch.float32))
        size = rows_within(len(head.weight), CHUNK_BYTES)
        for start in range(0, len(states), size):
            inside = (batch.sources >= start) & (batch.sources < start + size)
            logits = linear(states[start : start + size], weight, bias)
            found[inside] = _logprobs(logits, batch.sources[inside] - start, batch.targets[inside])
        return found

    with _in_the_head(model.get_output_embeddings(), in_chunks):
        found: Tensor = model(**_inputs(batch)).logits
    return found


def rows_within(vocabulary: int, held: int) -> int:
    """How many rows of float32 logits make `held` bytes or less: a multiple of `tree.FILL`, or what divides it."""
    fitting = max(1, held // (4 * vocabulary))
    return fitting - fitting % FILL if fitting >= FILL else 1 << fitting.bit_length() - 1


@contextmanager
def _in_the_head(head: Any, function: Callable[[Tensor, Any], Tensor]) -> Iterator[None]:
    """Let the head return a function of the states before it, (K, E) in the dtype of its product, instead of logits."""

    def forward(states: Tensor) -> Tensor:
        flat = states.flatten(0, -2).to(product_dtype(states))
        with torch.autocast(flat.device.type, enabled=False):
            return function(flat, head)

    with patch.object(head, "forward", forward):
        yield


@torch.no_grad()
def head_is_plain(model: Any) -> bool:
    """Whether a model's logits are what its linear head gives: found out by giving it some tokens.

    States of zero (a padding token's) would pass through any function that keeps zero: that is no answer.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return False
    given: list[Tensor] = []
    hook = head.register_forward_hook(lambda _module, _inputs, out: given.append(out))
    try:
        tokens = torch.arange(1, 9, device=head.weight.device)[None] % head.weight.shape[0]
        logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        hook.remove()
    return len(given) == 1 and bool(given[0].any()) and torch.equal(given[0], logits)
