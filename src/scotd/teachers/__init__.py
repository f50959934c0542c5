"""The Teacher protocol: what the sampling loop asks, and what comes back.

    wants -> (loop: what is missing?) -> Ask -> (loop: journal) -> Teacher -> Outcome -> (loop: store) -> Corpus

A teacher knows models or servers and nothing of the corpus; the loop (`teachers/sampling.py`) knows the corpus and
nothing of models. Kinds: `teachers/openai.py` (any OpenAI-compatible endpoint), `teachers/local.py` (a model here).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from scotd.config import TeacherConfig
from scotd.models import durable_name
from scotd.types import Completion, Prompt, SamplingParams, ServerCap, Usage

FATAL = "ended the run"  # kind of the error of an ask whose failure is then raised


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Chains wanted for one question: one for each sample index, with one seed for each.

    A teacher that draws several chains at once from one generator may ignore the seeds: sampling repeats only in its
    identities.
    """

    question_key: str
    prompt: Prompt
    sampling: SamplingParams
    indices: tuple[int, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.indices and len(self.indices) == len(self.seeds), self
        assert len(set(self.indices)) == len(self.indices), self


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an ask.

    `completions` match `ask.indices` in order; fewer may come back, the rest stays missing. `error` says why fewer (or
    none) came, as "kind: detail" ("HTTP 500: overloaded"): failures are counted by kind. `usage` is what the whole ask
    was billed, retries that brought an answer included. `notes` are remarks for the user ("the server refuses n > 1"):
    the loop shows each once and counts them. `status` is what goes on at the moment, for the progress bar. `caps` is
    what servers were found to give at most while it was served: the loop has the corpus remember it.
    """

    ask: Ask
    completions: tuple[Completion, ...]
    usage: Usage
    error: str | None = None
    notes: tuple[str, ...] = ()
    status: str = ""
    caps: tuple[ServerCap, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.completions) <= len(self.ask.indices), self
        assert self.error is None or self.error.strip(), self


def teacher_name(config: TeacherConfig) -> str:
    """The teacher's part in its chains' identities, known without loading it or asking it anything.

    `teacher.name` where it is given. By default a server's model is taken to be the same model wherever it is served:
    a restart under another address must not pay for every chain again. Give names where two servers call different
    models alike. A text continued and a text wrapped in a chat message are asked differently, so the endpoint counts.
    """
    if config.name is not None:
        return config.name
    if config.kind == "openai":
        return f"openai:{config.model}" + (" completions" if config.endpoint == "completions" else "")
    return f"{config.kind}:{durable_name(config.model)}"


class Teacher(Protocol):
    """Something that writes chains.

    `name` is part of every chain's identity. `batch` is how many asks the teacher wants journaled ahead, and may change
    during a run. `max_n` is the greatest number of indices in one ask, None for no bound; it may fall during a run (a
    server's cap is learned from its refusals), and an ask that was already planned with more is still served.
    """

    @property
    def name(self) -> str: ...

    @property
    def batch(self) -> int: ...

    @property
    def max_n(self) -> int | None: ...

    def complete(self, asks: Iterator[Ask]) -> Iterator[Outcome]:
        """Yield one outcome for each ask, in the order in which they finish.

        An ask is pulled just before it is sent: pulling journals it. A failed ask is an outcome with an `error`, not
        an exception. TeacherError or ConfigError is raised where no further ask can succeed, after the outcomes that
        had arrived were yielded.
        """
        ...
