"""A teacher that runs here: a Hugging Face id, a folder or a GGUF file, decoded in this process or by a fleet.

Asks are gathered into blocks of `teacher.batch_chains` chains; what all prompts begin with (the few-shot prompt) is
computed once and kept from block to block.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from scotd.blocks import Block, Writer
from scotd.config import RayConfig, TeacherConfig
from scotd.decode import Decoder
from scotd.device import compute_dtype, pick_device
from scotd.fleet import Fleet, stored_as
from scotd.models import ModelFiles
from scotd.progress import Tracker, silent
from scotd.student import load
from scotd.teachers import Ask, Outcome, teacher_name
from scotd.tokens import encode_prompt
from scotd.types import Usage


class LocalTeacher:
    """Satisfies `teachers.Teacher`. Weights are loaded when the first ask comes.

    With `ray` a fleet writes the chains, and is ended when the last one came; `left` as of `Fleet`.
    """

    def __init__(
        self,
        config: TeacherConfig,
        files: ModelFiles,
        progress: Tracker = silent,
        *,
        ray: RayConfig | None = None,
        left: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config = config
        self.files = files
        self.progress = progress
        self.ray = ray
        self.left = left
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
        """Yield outcomes block by block; a block is all asks that fit into `batch_chains` and sample alike."""
        first = next(asks, None)
        if first is None:
            return
        with self._writer() as writer:
            for batch, chains in writer.write(self._blocks(first, asks, writer)):
                for ask, n_prompt, completions in zip(batch.asks, batch.prompt_tokens, chains, strict=True):
                    written = sum(completion.n_tokens or 0 for completion in completions)
                    usage = Usage(prompt_tokens=n_prompt, completion_tokens=written)
                    yield Outcome(ask=ask, completions=tuple(completions), usage=usage)

    def _blocks(self, first: Ask, asks: Iterator[Ask], writer: Writer) -> Iterator[tuple["_Batch", Block]]:
        waiting: Ask | None = first
        while waiting is not None:
            batch, waiting = _gather(waiting, asks, self.config.batch_chains)
            prompts = [encode_prompt(writer.tokenizer, ask.prompt) for ask in batch]
            held = writer.shared
            if not held or any(len(prompt) <= len(held) or tuple(prompt[: len(held)]) != held for prompt in prompts):
                # a batch that parts earlier than those before it shortens the prefix; it never has to grow again
                following = [] if waiting is None else [encode_prompt(writer.tokenizer, waiting.prompt)]
                company = [[*held, -1]] if held else following
                writer.share([*prompts, *company])  # in a batch of one question, what it has in common with the next
            block = Block(
                prompts=tuple(map(tuple, prompts)),
                seeds=tuple(ask.seeds for ask in batch),
                sampling=batch[0].sampling,
            )
            yield _Batch(asks=batch, prompt_tokens=[len(prompt) for prompt in prompts]), block

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        config = self.config
        if self.ray is not None:
            with Fleet(
                self.files,
                self.ray,
                precision=config.precision,
                device=config.device,
                progress=self.progress,
                left=self.left,
            ) as fleet:
                yield fleet
            return
        if self._decoder is None:
            device = pick_device(config.device)
            dtype = compute_dtype(config.precision, device)
            loaded = load(self.files, dtype=dtype, device=device, stored=stored_as(dtype), progress=self.progress)
            self._decoder = Decoder(loaded.model, loaded.tokenizer)
        yield self._decoder


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """The asks of a block, and how long their prompts are."""

    asks: list[Ask]
    prompt_tokens: list[int]


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
