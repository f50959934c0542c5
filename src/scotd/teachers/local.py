"""A teacher that runs here: a Hugging Face id, a folder or a GGUF file, decoded by `decode.py`.

Asks are gathered into batches of `teacher.batch_chains` chains; what all prompts begin with (the few-shot prompt) is
computed once and kept from batch to batch.
"""

from collections.abc import Iterator
from itertools import islice

import torch

from scotd.config import TeacherConfig
from scotd.decode import Decoder
from scotd.device import compute_dtype, pick_device
from scotd.models import ModelFiles
from scotd.progress import Tracker, silent
from scotd.student import Stored, load
from scotd.teachers import Ask, Outcome, teacher_name
from scotd.tokens import encode_prompt
from scotd.types import Usage


class LocalTeacher:
    """Satisfies `teachers.Teacher`. Weights are loaded when the first ask comes."""

    def __init__(self, config: TeacherConfig, files: ModelFiles, progress: Tracker = silent) -> None:
        self.config = config
        self.files = files
        self.progress = progress
        self._name = teacher_name(config)
        self._decoder: Decoder | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def batch(self) -> int:
        return self.config.batch_chains

    @property
    def max_n(self) -> int | None:
        return self.config.batch_chains

    def complete(self, asks: Iterator[Ask]) -> Iterator[Outcome]:
        """Yield outcomes batch by batch; a batch is all asks that fit into `batch_chains` and sample alike."""
        waiting = next(asks, None)
        while waiting is not None:
            batch, waiting = _gather(waiting, asks, self.config.batch_chains)
            yield from self._answer(batch, waiting)

    def _answer(self, batch: list[Ask], following: Ask | None) -> Iterator[Outcome]:
        decoder = self._loaded()
        prompts = [encode_prompt(decoder.tokenizer, ask.prompt) for ask in batch]
        held = () if decoder.prefix is None else decoder.prefix.tokens
        if not held or any(len(prompt) <= len(held) or tuple(prompt[: len(held)]) != held for prompt in prompts):
            # a batch that parts earlier than those before it shortens the prefix; it never has to grow again
            company = (
                [[*held, -1]] if held else [encode_prompt(decoder.tokenizer, following.prompt)] if following else []
            )
            decoder.share([*prompts, *company])  # in a batch of one question, what it has in common with the next
        results = decoder.complete(prompts, [ask.seeds for ask in batch], batch[0].sampling)
        for ask, prompt, completions in zip(batch, prompts, results, strict=True):
            written = sum(completion.n_tokens or 0 for completion in completions)
            usage = Usage(prompt_tokens=len(prompt), completion_tokens=written)
            yield Outcome(ask=ask, completions=tuple(completions), usage=usage)

    def _loaded(self) -> Decoder:
        if self._decoder is None:
            device = pick_device(self.config.device)
            dtype = compute_dtype(self.config.precision, device)
            stored: Stored = "bfloat16" if dtype == torch.bfloat16 else "float32"
            loaded = load(self.files, dtype=dtype, device=device, stored=stored, progress=self.progress)
            self._decoder = Decoder(loaded.model, loaded.tokenizer)
        return self._decoder


def _gather(first: Ask, asks: Iterator[Ask], room: int) -> tuple[list[Ask], Ask | None]:
    """Take asks until the batch is full or one samples otherwise; returns the batch and the ask that did not fit."""
    batch = [first]
    chains = len(first.indices)
    for ask in islice(asks, room):
        chains += len(ask.indices)
        if chains > room or ask.sampling != first.sampling:
            return batch, ask
        batch.append(ask)
    return batch, None
