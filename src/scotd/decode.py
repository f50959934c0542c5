"""The engine that writes chains, for the local teacher and for students: `tree.py`'s idea at decoding time.

Levels of the tree are computed once (`levels.py`): the beginning that all prompts of a stage share (the few-shot
prompt) once for every row, each question once for its chains. Own tokens live in preallocated memory, and a chain that
has ended leaves the batch at once.

Shapes: B rows, n questions, V vocabulary.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from scotd.blocks import Block, Written, shared_beginning
from scotd.choose import choose
from scotd.forward import attention_of
from scotd.levels import ATTENTION, OwnCache, Prefix, Questions, Shared, keys_and_values
from scotd.tokens import Tokenizer
from scotd.tree import check_supported
from scotd.types import Completion, Finish, SamplingParams

T = TypeVar("T")


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
    decoder.share(prompts)                                    # once a stage: all prompts, as token ids
    chains = decoder.complete(prompts[:2], [[1, 2, 3], [4]], params)   # a seed for each chain
    """

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = next(model.parameters()).device
        self.prefix: Prefix | None = None
        ends = getattr(model.generation_config, "eos_token_id", None)
        self.ends = end_tokens(tokenizer, ends)

    @torch.inference_mode()
    def share(self, prompts: Sequence[Sequence[int]]) -> int:
        """Compute what all these prompts begin with; every later batch must begin so too. Returns its length."""
        self.hold(shared_beginning(prompts))
        return len(self.shared)

    @property
    def shared(self) -> tuple[int, ...]:
        return () if self.prefix is None else self.prefix.tokens

    @torch.inference_mode()
    def hold(self, tokens: tuple[int, ...]) -> None:
        """Compute a beginning of every prompt to come, unless it is held already."""
        if tokens == self.shared:
            return
        self.prefix = None
        if not tokens:
            return
        with self._attention():
            _, _, alone = self._prefill([list(tokens)], shared=0, slots=1)
        self.prefix = Prefix(
            tokens=tokens,
            keys=tuple(held[0] for held in alone.keys),
            values=tuple(held[0] for held in alone.values),
        )

    def write(self, blocks: Iterable[tuple[T, Block]]) -> Iterator[tuple[T, Written]]:
        """Satisfies `blocks.Writer`: one block after the other, each pulled when the one before it is done."""
        for name, block in blocks:
            yield name, self.complete(block.prompts, block.seeds, block.sampling)

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
        shared = len(self.shared)
        assert all(tuple(prompt[:shared]) == self.shared for prompt in prompts)
        own = [list(prompt[shared:]) for prompt in prompts]
        longest = shared + max(map(len, own)) + params.max_tokens
        check_supported(self.model, longest, "shorten the prompt's exemplars, or set max_tokens to bring both")
        with self._attention():
            return self._run(own, seeds, params, shared)

    def _run(
        self, own: list[list[int]], seeds: Sequence[Sequence[int]], params: SamplingParams, shared: int
    ) -> list[list[Completion]]:
        logits, lengths, questions = self._prefill(own, shared, slots=max(map(len, seeds)))
        owners = [row for row, group in enumerate(seeds) for _ in group]
        index = torch.tensor(owners, device=self.device)
        places = torch.tensor(
            [row * questions.slots + place for row, group in enumerate(seeds) for place in range(len(group))]
        )
        questions = replace(questions, places=places.to(self.device))
        logits, lengths = logits[index], lengths[index]
        cache = self._cache(params.max_tokens)
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
                chain.tokens.append(token)
                chain.logprobs.append(logprob)
                finish = self._finish(chain.tokens, params)
                if finish is not None:
                    done[chain.slot] = completion(
                        self.tokenizer, chain.tokens, chain.logprobs, finish, stop=params.stop, ends=self.ends
                    )
            kept = _close_ranks([chain.slot in done for chain in live])
            if not kept:
                break
            if len(kept) < len(live):
                if step > 0:
                    moved = [(old, new) for new, old in enumerate(kept) if old != new]
                    if moved:
                        old, new = torch.tensor(moved, device=self.device).T
                        cache.move(old, new)
                rows = torch.tensor(kept, device=self.device)
                tokens, lengths = tokens[rows], lengths[rows]
                questions = replace(questions, places=questions.places[rows])
                live = [live[row] for row in kept]
            logits = self.model(
                input_ids=tokens[:, None],
                position_ids=(shared + lengths + step)[:, None],
                attention_mask=None,
                past_key_values=cache,
                use_cache=True,
                shared=Shared(prefix=self.prefix, questions=questions),
                logits_to_keep=1,
            ).logits[:, -1]
        results = iter(done[slot] for slot in range(len(flat)))
        return [[next(results) for _ in group] for group in seeds]

    def _prefill(self, own: list[list[int]], shared: int, slots: int) -> tuple[Tensor, Tensor, Questions]:
        """Run every question once: the logits after its last token (n, V), its length (n,), its keys and values."""
        longest = max(map(len, own))
        lengths = torch.tensor([len(tokens) for tokens in own], device=self.device)
        cache = self._cache(longest)
        ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in own], device=self.device)
        positions = torch.arange(longest, device=self.device)[None].expand(len(own), -1)
        causal = torch.ones(longest, longest, dtype=torch.bool, device=self.device).tril()
        logits: Tensor = self.model(
            input_ids=ids,
            position_ids=shared + positions,
            attention_mask=causal[None, None].expand(len(own), 1, -1, -1),
            past_key_values=cache,
            use_cache=True,
            shared=Shared(prefix=self.prefix),
            logits_to_keep=(lengths - 1)[:, None],
        ).logits
        keys, values = keys_and_values(cache)
        visible = positions < lengths[:, None]
        questions = Questions(
            keys=tuple(keys), values=tuple(values), visible=visible, places=lengths.new_empty(0), slots=slots
        )
        return logits[:, -1], lengths, questions

    def _finish(self, tokens: list[int], params: SamplingParams) -> Finish | None:
        if tokens[-1] in self.ends:
            return Finish.STOP
        if params.stop:
            tail = self.tokenizer.decode(tokens[-(max(map(len, params.stop)) + 1) :], skip_special_tokens=False)
            if any(stop in tail for stop in params.stop):
                return Finish.STOP
        return Finish.LENGTH if len(tokens) == params.max_tokens else None

    def _cache(self, capacity: int) -> OwnCache:
        return OwnCache(self.model.config.num_hidden_layers, capacity)

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """Switch the model to the levels' attention, and back: it may be in the middle of training."""
        training = self.model.training
        self.model.eval()
        try:
            with attention_of(self.model, ATTENTION):
                yield
        finally:
            self.model.train(training)


def end_tokens(tokenizer: Tokenizer, named: int | list[int] | None) -> set[int]:
    """The tokens that end a chain: the tokenizer's, and those that the model's generation settings name."""
    return {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}


def completion(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    finish: Finish,
    *,
    stop: Sequence[str],
    ends: Collection[int],
) -> Completion:
    """A chain from the tokens that were drawn: its text up to the first stop string, and the mean log-probability of
    the tokens kept. `logprobs` are at temperature 1 over the full vocabulary, one a token."""
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    cuts = [text.find(one) for one in stop if one in text]
    text = text[: min(cuts)] if cuts else text
    kept = len(tokens) - (tokens[-1] in ends)
    while cuts and kept > 0 and len(tokenizer.decode(tokens[: kept - 1])) >= len(text):
        kept -= 1
    mean = sum(logprobs[:kept]) / kept if kept else None
    return Completion(text=text, finish=finish, n_tokens=len(tokens), mean_logprob=mean)


def _close_ranks(ended: Sequence[bool]) -> list[int]:
    """Which row stands where once those that ended have left: the last ones fill the holes, the others stay."""
    going = [row for row, over in enumerate(ended) if not over]
    last = [row for row in going if row >= len(going)]
    return [last.pop() if ended[row] else row for row in range(len(going))]
