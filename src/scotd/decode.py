"""The engine that writes chains, for the local teacher and for students: `tree.py`'s idea at decoding time.

Two levels of the tree are computed once: the beginning that all prompts of a stage share (the few-shot prompt) is held
once for every row, with its attention as one large product (Hydragen, arXiv 2402.05099); each question is computed once
and then repeated for its chains. Own tokens live in preallocated memory, and finished chains leave the batch.

It goes through the attention and cache interfaces of transformers, so that no model code is copied: any decoder-only
model whose layers call the registered attention function can be served.

Shapes: B rows, H query heads, G key-value heads, Q queries, D head size, P prefix tokens, T own tokens so far.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from scotd.errors import ModelError
from scotd.tokens import Tokenizer, common_prefix
from scotd.tree import check_supported
from scotd.types import Completion, Finish, SamplingParams

ATTENTION = "scotd_prefix"
MIN_PREFIX = 16  # a shorter shared beginning is not worth a level of its own
LEAVE = 0.8  # finished rows are dropped together once this share is left: every drop copies the cache


class OwnTokens(CacheLayerMixin):
    """Keys and values of one layer in memory allocated once: (B, G, capacity, D), `length` of it in use."""

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
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def rows(self, index: Tensor) -> None:
        """Keep these rows, in this order; an index may repeat (a question becomes its chains)."""
        kept = self.length
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(len(index), *old.shape[1:])
            new[:, :, :kept] = old[index, :, :kept]
            setattr(self, name, new)

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

    def rows(self, index: Tensor) -> None:
        for layer in self.own:
            layer.rows(index)


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The shared beginning: token ids, and per layer its keys and values (G, P, D)."""

    tokens: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


def prefix_attention(  # noqa: PLR0917 - the signature is transformers'
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    prefix: Prefix | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Attention over a shared prefix and a row's own tokens under one softmax.

    query (B, H, Q, D); key, value (B, G, T, D); attention_mask (B, 1, Q, T) bool over own tokens, the prefix is always
    visible. Returns (B, Q, H, D), as transformers' attention functions do.
    """
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if unknown:
        raise ModelError(f"{type(module).__name__} attends with {unknown[0]}, which the decoder cannot do exactly.")
    rows, heads, queries, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    groups = key.shape[1]
    if prefix is None:
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scale, enable_gqa=heads != groups
        )
        return out.transpose(1, 2).contiguous(), None
    layer = cast(int, module.layer_idx)
    prefix_keys, prefix_values = prefix.keys[layer], prefix.values[layer]
    per_group = heads // groups * queries
    grouped = query.reshape(rows, groups, per_group, size)
    own = torch.matmul(grouped, key.transpose(2, 3)).view(rows, groups, heads // groups, queries, -1) * scale
    if attention_mask is not None:
        own = own.masked_fill(~attention_mask[:, :, None], torch.finfo(own.dtype).min)
    stacked = grouped.transpose(0, 1).reshape(groups, rows * per_group, size)
    shared = torch.matmul(stacked, prefix_keys.transpose(1, 2)) * scale
    shared = shared.view(groups, rows, per_group, -1).transpose(0, 1)
    scores = torch.cat([shared, own.reshape(rows, groups, per_group, -1)], dim=-1)
    weights = scores.softmax(dim=-1, dtype=torch.float32 if scores.dtype == torch.bfloat16 else scores.dtype)
    weights = weights.to(query.dtype)
    length = prefix_keys.shape[1]
    on_prefix = weights[..., :length].transpose(0, 1).reshape(groups, rows * per_group, length)
    out = torch.matmul(on_prefix, prefix_values).view(groups, rows, per_group, -1).transpose(0, 1)
    out = out + torch.matmul(weights[..., length:], value)
    return out.reshape(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, prefix_attention)


@dataclass
class _Live:
    """One chain while it is written."""

    slot: int
    uniforms: np.ndarray[Any, np.dtype[np.float64]]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Decoder:
    """Writes chains with one model. Batches are the caller's: the same batch gives the same bits.

    decoder = Decoder(model, tokenizer)
    decoder.share(prompts)                       # once a stage: all prompts, as token ids
    completions = decoder.complete(prompts[:8], [5] * 8, params, seeds)
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = next(model.parameters()).device
        self.prefix: Prefix | None = None
        ends = getattr(model.generation_config, "eos_token_id", None)
        self.ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    @torch.inference_mode()
    def share(self, prompts: Sequence[Sequence[int]]) -> int:
        """Compute what all these prompts begin with; every later batch must begin so too. Returns its length."""
        length = common_prefix([list(prompt) for prompt in prompts]) if len(prompts) > 1 else 0
        self.prefix = None
        if length < MIN_PREFIX:
            return 0
        tokens = tuple(prompts[0][:length])
        cache = self._cache(length)
        ids = torch.tensor([tokens], device=self.device)
        mask = torch.ones(1, 1, length, length, dtype=torch.bool, device=self.device).tril()
        with self._attention():
            self.model(
                input_ids=ids,
                position_ids=torch.arange(length, device=self.device)[None],
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self.prefix = Prefix(
            tokens=tokens,
            keys=tuple(layer.keys[0].contiguous() for layer in cache.own),
            values=tuple(layer.values[0].contiguous() for layer in cache.own),
        )
        return length

    @torch.inference_mode()
    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[Sequence[int]],
        params: SamplingParams,
    ) -> list[list[Completion]]:
        """Write one chain per seed for every prompt, all in one batch; results in the order of prompts and seeds.

        At temperature 0 the seeds only count the chains. Each chain's randomness comes from its own seed.
        """
        shared = 0 if self.prefix is None else len(self.prefix.tokens)
        assert self.prefix is None or all(tuple(prompt[:shared]) == self.prefix.tokens for prompt in prompts)
        own = [list(prompt[shared:]) for prompt in prompts]
        longest = shared + max(map(len, own)) + params.max_tokens
        check_supported(self.model, longest, "shorten the prompt's exemplars, or set max_tokens to bring both")
        with self._attention():
            return self._run(own, seeds, params, shared)

    def _run(
        self, own: list[list[int]], seeds: Sequence[Sequence[int]], params: SamplingParams, shared: int
    ) -> list[list[Completion]]:
        longest = max(map(len, own))
        cache = self._cache(longest + params.max_tokens)
        lengths = torch.tensor([len(tokens) for tokens in own], device=self.device)
        logits = self._prefill(own, lengths, longest, cache, shared)
        owners = [row for row, group in enumerate(seeds) for _ in group]
        index = torch.tensor(owners, device=self.device)
        cache.rows(index)
        logits, lengths = logits[index], lengths[index]
        columns = torch.arange(longest + params.max_tokens, device=self.device)
        valid = (columns[None] < lengths[:, None]) | (columns[None] >= longest)
        flat = [seed for group in seeds for seed in group]
        live = [
            _Live(slot=slot, uniforms=np.random.Generator(np.random.Philox(seed)).random(params.max_tokens))
            for slot, seed in enumerate(flat)
        ]
        done: dict[int, Completion] = {}
        for step in range(params.max_tokens):
            uniforms = torch.tensor([float(chain.uniforms[step]) for chain in live], device=self.device)
            tokens, logprobs = choose(logits, params, uniforms)
            for chain, token, logprob in zip(live, tokens.tolist(), logprobs.tolist(), strict=True):
                if chain.slot in done:
                    continue
                chain.tokens.append(token)
                chain.logprobs.append(logprob)
                finish = self._finish(chain.tokens, params)
                if finish is not None:
                    done[chain.slot] = self._completion(chain, finish, params)
            going = [row for row, chain in enumerate(live) if chain.slot not in done]
            if not going:
                break
            if len(going) <= len(live) * LEAVE:
                keep = torch.tensor(going, device=self.device)
                cache.rows(keep)
                tokens, lengths, valid = tokens[keep], lengths[keep], valid[keep]
                live = [live[row] for row in going]
            logits = self.model(
                input_ids=tokens[:, None],
                position_ids=(shared + lengths + step)[:, None],
                attention_mask=valid[:, None, None, : longest + step + 1],
                past_key_values=cache,
                use_cache=True,
                prefix=self.prefix,
                logits_to_keep=1,
            ).logits[:, -1]
        results = iter(done[slot] for slot in range(len(flat)))
        return [[next(results) for _ in group] for group in seeds]

    def _prefill(self, own: list[list[int]], lengths: Tensor, longest: int, cache: OwnCache, shared: int) -> Tensor:
        """Run every question once; returns the logits after its last token, (rows, V)."""
        ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in own], device=self.device)
        positions = torch.arange(longest, device=self.device)[None].expand(len(own), -1)
        causal = torch.ones(longest, longest, dtype=torch.bool, device=self.device).tril()
        logits: Tensor = self.model(
            input_ids=ids,
            position_ids=shared + positions,
            attention_mask=causal[None, None].expand(len(own), 1, -1, -1),
            past_key_values=cache,
            use_cache=True,
            prefix=self.prefix,
            logits_to_keep=(lengths - 1)[:, None],
        ).logits
        return logits[:, -1]

    def _finish(self, tokens: list[int], params: SamplingParams) -> Finish | None:
        if tokens[-1] in self.ends:
            return Finish.STOP
        if params.stop:
            tail = self.tokenizer.decode(tokens[-(max(map(len, params.stop)) + 1) :], skip_special_tokens=False)
            if any(stop in tail for stop in params.stop):
                return Finish.STOP
        return Finish.LENGTH if len(tokens) == params.max_tokens else None

    def _completion(self, chain: _Live, finish: Finish, params: SamplingParams) -> Completion:
        text = self.tokenizer.decode(chain.tokens, skip_special_tokens=True)
        cuts = [text.find(stop) for stop in params.stop if stop in text]
        text = text[: min(cuts)] if cuts else text
        kept = len(chain.tokens) - (chain.tokens[-1] in self.ends)
        while cuts and kept > 0 and len(self.tokenizer.decode(chain.tokens[: kept - 1])) >= len(text):
            kept -= 1
        return Completion(
            text=text,
            finish=finish,
            n_tokens=len(chain.tokens),
            mean_logprob=sum(chain.logprobs[:kept]) / kept if kept else None,
        )

    def _cache(self, capacity: int) -> OwnCache:
        return OwnCache(self.model.config.num_hidden_layers, capacity)

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """Switch the model to this module's attention, and back: it may be in the middle of training."""
        before, training = self.model.config._attn_implementation, self.model.training
        self.model.set_attn_implementation(ATTENTION)
        self.model.eval()
        try:
            yield
        finally:
            self.model.set_attn_implementation(before)
            self.model.train(training)


def choose(logits: Tensor, params: SamplingParams, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Pick one token a row by inverse CDF; temperature 0 takes the largest logit.

    logits (B, V); uniforms (B,) in [0, 1). Returns the tokens (B,) and their log-probabilities (B,) in nats, at
    temperature 1 over the full vocabulary whatever the sampling was. `torch.multinomial` is about seven times slower
    at a vocabulary of 49k.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if params.temperature == 0:
        tokens = wide.argmax(dim=-1)
    else:
        scaled = restrict(wide / params.temperature, params)
        cdf = scaled.softmax(dim=-1).cumsum(dim=-1)
        total = cdf[:, -1:]
        points = uniforms.to(cdf.dtype)[:, None] * total  # may round up to the total, which no token lies above
        points = torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))
        tokens = torch.searchsorted(cdf, points, right=True)[:, 0]
    logprobs = wide.gather(1, tokens[:, None])[:, 0] - wide.logsumexp(dim=-1)
    return tokens, logprobs


def restrict(scaled: Tensor, params: SamplingParams) -> Tensor:
    """Send the logits outside top-k and top-p to -inf. (B, V) -> (B, V)."""
    if params.top_k > 0:
        least = scaled.topk(min(params.top_k, scaled.shape[1]), dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    if params.top_p < 1:
        ordered, order = scaled.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        outside = probabilities.cumsum(dim=-1) - probabilities >= params.top_p  # the token that crosses stays
        scaled = scaled.masked_fill(outside.gather(1, order.argsort(dim=-1)), -torch.inf)
    return scaled
