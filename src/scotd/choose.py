"""Pick the next token of every row: temperature, top-k, top-p, min-p, by inverse CDF from a number of the row's own.

Shapes: B rows, V vocabulary. A vocabulary of 150k is passed over as few times as can be: the CDF is formed over blocks
of tokens first, and inside of the one block that a row's number falls into.
"""

import torch
from torch import Tensor

from scotd.types import SamplingParams

BLOCK = 512  # tokens
CANDIDATES = 1024  # most likely tokens among which top-p is looked for before everything is sorted


def choose(logits: Tensor, params: SamplingParams, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Pick one token a row; temperature 0 takes the largest logit.

    logits (B, V); uniforms (B,) in [0, 1). Returns the tokens (B,) and their log-probabilities (B,) in nats, at
    temperature 1 over the full vocabulary whatever the sampling was. `torch.multinomial` is about seven times slower
    at a vocabulary of 49k.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    greatest = wide.amax(dim=-1, keepdim=True)
    mass = (wide - greatest).exp_()
    normaliser = greatest[:, 0] + mass.sum(dim=-1).log()
    if params.temperature == 0:
        tokens = wide.argmax(dim=-1)
    else:
        if not params.plain:
            mass = restrict((wide - greatest) / params.temperature, params).exp_()
        tokens = _draw(mass, uniforms.to(mass.dtype))
    return tokens, wide.gather(1, tokens[:, None])[:, 0] - normaliser


def _draw(mass: Tensor, uniforms: Tensor) -> Tensor:
    """The token on which each row's share of the whole mass falls: (B, V) not negative, (B,) -> (B,) int64."""
    vocabulary = mass.shape[1]
    whole = vocabulary - vocabulary % BLOCK
    sums = [mass[:, :whole].unflatten(1, (-1, BLOCK)).sum(dim=-1)] if whole else []
    if whole < vocabulary:
        sums.append(mass[:, whole:].sum(dim=-1, keepdim=True))
    cdf = torch.cat(sums, dim=1).cumsum(dim=-1)
    points = _below(uniforms[:, None] * cdf[:, -1:], cdf[:, -1:])
    block = torch.searchsorted(cdf, points, right=True)
    before = torch.where(block > 0, cdf.gather(1, (block - 1).clamp_min(0)), 0)
    inside = block * BLOCK + torch.arange(BLOCK, device=mass.device)
    held = mass.gather(1, inside.clamp_max(vocabulary - 1)).masked_fill_(inside >= vocabulary, 0)
    inner = held.cumsum(dim=-1)
    points = _below((points - before).clamp_min(0), inner[:, -1:])
    return (block * BLOCK + torch.searchsorted(inner, points, right=True))[:, 0]


def _below(points: Tensor, total: Tensor) -> Tensor:
    """Rounding may lift a point up to the total, which no token lies above."""
    return torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))


def restrict(scaled: Tensor, params: SamplingParams) -> Tensor:
    """Send the logits outside top-k, top-p and min-p to -inf. (B, V) -> (B, V)."""
    if params.top_k > 0:
        least = scaled.topk(min(params.top_k, scaled.shape[1]), dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    if params.top_p < 1:
        scaled = _nucleus(scaled, params.top_p)
    if params.min_p > 0:
        least = scaled.amax(dim=-1, keepdim=True) + torch.tensor(params.min_p, dtype=scaled.dtype).log()
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    return scaled


def _nucleus(scaled: Tensor, top_p: float) -> Tensor:
    """Keep the most likely tokens until they make up top_p; the token that crosses stays."""
    normaliser = scaled.logsumexp(dim=-1, keepdim=True)
    for count in (min(CANDIDATES, scaled.shape[1]), scaled.shape[1]):
        ordered, order = scaled.topk(count, dim=-1)
        probabilities = (ordered - normaliser).exp()
        summed = probabilities.cumsum(dim=-1)
        if count == scaled.shape[1] or bool((summed[:, -1] >= top_p).all()):
            break
    outside = summed - probabilities >= top_p
    kept = torch.full_like(scaled, -torch.inf)
    return kept.scatter_(1, order, ordered.masked_fill(outside, -torch.inf))
