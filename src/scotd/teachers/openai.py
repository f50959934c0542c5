"""A teacher behind any OpenAI-compatible endpoint: OpenAI, vLLM, SGLang, llama.cpp's server, Ollama, ...

    teacher = OpenAITeacher(config.teacher)
    for outcome in teacher.complete(iter(asks)): ...

One request asks for all chains of an ask (`n`), so that the prompt is billed once. A server that refuses `n` above 1,
caps it, or sends fewer choices than asked gets several requests; what came is kept, the cap holds for the rest of the
run. What a server cannot do (`n`, log-probabilities, seeds) is learned from its refusal and noted once.

- Retries, waits, the key and the address: `openai_http.py`. Reading answers and refusals: `openai_replies.py`.
- After the last try an ask is an outcome with an `error`. TeacherError is raised where no request can succeed (401,
  403, 404, no server), or where too many fail in a row.
- A seed goes only with a request for one chain: with `n` above 1 one seed would stand for several chains.
- Log-probabilities are asked for at temperature 1 without top-p, top-k and min-p only: elsewhere servers differ in what
  the numbers mean.
- `top_k` and `min_p` 0 are not sent, as OpenAI refuses the fields. vLLM then takes the model's own defaults; start it
  with `--generation-config vllm` so that what it draws from is what the corpus says.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

import httpx

from scotd.config import TeacherConfig
from scotd.errors import ConfigError, TeacherError
from scotd.teachers import FATAL, Ask, Outcome, teacher_name
from scotd.teachers.openai_http import Endpoint, GaveUpError, Patience, RefusedError
from scotd.teachers.openai_replies import Extra, MalformedError, read_reply, refused_extra, stated_cap
from scotd.types import Completion, Message, Prompt, Usage

MAX_STOP_STRINGS = 4

NOTES = {
    Extra.N: "the server gives at most {max_n} chains a request: several requests are sent instead",
    Extra.LOGPROBS: "the server refuses log-probabilities: they are not asked for any more",
    Extra.SEED: "the server refuses seeds: none are sent any more",
}


@dataclass(frozen=True, kw_only=True)
class _Abilities:
    """What the server turned out to be able to do."""

    max_n: int | None
    refuses: frozenset[Extra] = frozenset()


@dataclass(frozen=True, kw_only=True)
class _Served:
    """What a thread hands back. `fatal` ends the run after the outcome was yielded."""

    outcome: Outcome
    fatal: BaseException | None = None


class OpenAITeacher:
    """See the module's docstring. Raises ConfigError for a `base_url` that is none."""

    def __init__(self, config: TeacherConfig, patience: Patience | None = None) -> None:
        self._config = config
        self._patience = patience or Patience()
        self._endpoint = Endpoint(config, self.name, self._patience)
        self._server = _Server(config)

    @property
    def name(self) -> str:
        return teacher_name(self._config)

    @property
    def batch(self) -> int:
        return self._config.concurrency

    @property
    def max_n(self) -> int | None:
        """The configured bound, or the server's own once it was met."""
        return self._server.abilities.max_n

    def complete(self, asks: Iterator[Ask]) -> Iterator[Outcome]:
        """See `Teacher.complete`. At most `concurrency` requests are under way, each ask in its own daemon thread."""
        results: SimpleQueue[_Served] = SimpleQueue()
        stop = threading.Event()
        in_flight = in_a_row = 0
        with self._endpoint.client() as client:
            try:
                while True:
                    while in_flight < self._config.concurrency and (ask := next(asks, None)) is not None:
                        self._start(ask, client, stop, results)
                        in_flight += 1
                    if not in_flight:
                        return
                    served = _get(results)
                    in_flight -= 1
                    failed = served.outcome.error is not None and not served.outcome.completions
                    in_a_row = in_a_row + 1 if failed else 0
                    fatal = served.fatal or self._too_many(in_a_row, served.outcome.error)
                    if fatal is not None:
                        stop.set()
                    yield served.outcome
                    if fatal is not None:
                        yield from self._drain(results, in_flight)
                        raise fatal
            finally:
                stop.set()

    def _start(self, ask: Ask, client: httpx.Client, stop: threading.Event, results: "SimpleQueue[_Served]") -> None:
        """Serve one ask in a thread of its own; whatever happens, it puts exactly one result."""
        errand = _Errand(ask=ask, endpoint=self._endpoint, server=self._server, client=client, stop=stop)

        def work() -> None:
            try:
                errand.run()
                results.put(_Served(outcome=errand.outcome(None)))
            except GaveUpError as error:
                results.put(_Served(outcome=errand.outcome(str(error))))
            except BaseException as error:  # raised in the caller's thread: a defect of ours is not lost in this one
                results.put(_Served(outcome=errand.outcome(f"{FATAL}: {error!r}"), fatal=error))

        threading.Thread(target=work, daemon=True, name="scotd-ask").start()

    def _too_many(self, in_a_row: int, error: str | None) -> TeacherError | None:
        """The error that ends a run of nothing but failures; twice what is under way, so that one outage is no end."""
        if in_a_row < max(self._patience.failures_in_a_row, 2 * self._config.concurrency):
            return None
        return TeacherError(
            f"Teacher {self.name}: the last {in_a_row} requests to {self._endpoint.shown} failed, the last one with "
            f"'{error}'. What had arrived is kept: run the same command again to go on."
        )

    def _drain(self, results: "SimpleQueue[_Served]", in_flight: int) -> Iterator[Outcome]:
        """Outcomes under way that arrive within a few seconds: they are paid for."""
        deadline = time.monotonic() + self._patience.drain_seconds
        for _ in range(in_flight):
            try:
                yield results.get(timeout=max(0.0, deadline - time.monotonic())).outcome
            except Empty:
                return


class _Server:
    """How requests to this server look, by what it was found to refuse. Used by several threads at once."""

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self.abilities = _Abilities(max_n=config.max_n)

    def learn(self, extra: Extra, max_n: int | None = None) -> str | None:
        """Remember what the server cannot do (`max_n` with Extra.N). Returns the note for it if it is news."""
        with self._lock:
            known = self.abilities
            if extra is Extra.N:
                assert max_n is not None
                if known.max_n is not None and known.max_n <= max_n:
                    return None
                self.abilities = replace(known, max_n=max_n)
            elif extra in known.refuses:
                return None
            else:
                self.abilities = replace(known, refuses=known.refuses | {extra})
        return NOTES[extra].format(max_n=max_n)

    def request(
        self, ask: Ask, start: int, n: int, refuses: frozenset[Extra]
    ) -> tuple[dict[str, Any], frozenset[Extra]]:
        """JSON of a request for `n` chains of an ask from position `start`, and the extras that it carries."""
        sampling = ask.sampling
        body: dict[str, Any] = {
            "model": self._config.model,
            **_prompt_fields(ask.prompt, self._config.endpoint),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,  # also where it is 1: some servers put a default of their own in its place
        }
        extras: dict[Extra, object] = {}
        if n > 1:
            extras[Extra.N] = n
        else:
            extras[Extra.SEED] = ask.seeds[start] % 2**31  # some servers keep 32 bits
        if self._config.logprobs and sampling.plain:
            extras[Extra.LOGPROBS] = True if self._config.endpoint == "chat" else 1
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k
        if sampling.min_p > 0:
            body["min_p"] = sampling.min_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        sent = {extra: value for extra, value in extras.items() if extra not in refuses}
        return {**body, **{str(extra): value for extra, value in sent.items()}}, frozenset(sent)


@dataclass(kw_only=True)
class _Errand:
    """One ask on its way: what came so far survives whatever ends it."""

    ask: Ask
    endpoint: Endpoint
    server: _Server
    client: httpx.Client
    stop: threading.Event

    def __post_init__(self) -> None:
        self._completions: list[Completion] = []
        self._usages: list[Usage] = []
        self._notes: list[str] = []

    def outcome(self, error: str | None) -> Outcome:
        return Outcome(
            ask=self.ask,
            completions=tuple(self._completions),
            usage=_sum(self._usages),
            error=error,
            notes=tuple(self._notes),
        )

    def run(self) -> None:
        """Send requests until every index was asked for once. Raises GaveUpError or ScotdError."""
        _check(self.ask)
        refused: frozenset[Extra] = frozenset()  # held to be the server's way only once a request without it works
        stated: int | None = None
        asked, wanted = 0, len(self.ask.indices)
        while asked < wanted:
            if self.stop.is_set():
                raise GaveUpError("stopped: the run ended before this was asked for")
            abilities = self.server.abilities
            n = min(cap for cap in (wanted - asked, abilities.max_n, stated) if cap is not None)
            body, extras = self.server.request(self.ask, asked, n, abilities.refuses | refused)
            try:
                answer = self.endpoint.post(body, self.client, self.stop, self._notes)
            except RefusedError as refusal:
                extra = refused_extra(refusal.body, extras)
                if extra is None:
                    raise GaveUpError(str(refusal)) from None
                if extra is Extra.N:
                    stated = stated_cap(refusal.body, n)
                else:
                    refused |= {extra}
                continue
            asked += self._keep(answer, n, extras)
            if stated is not None:
                self._learn(Extra.N, stated)
            for extra in sorted(refused):
                self._learn(extra)

    def _keep(self, answer: object, n: int, extras: frozenset[Extra]) -> int:
        """Keep what an answer holds; return the number of its choices."""
        try:
            reply = read_reply(answer, self.ask.sampling, n=n, logprobs=Extra.LOGPROBS in extras)
        except MalformedError as error:
            raise GaveUpError(f"unreadable answer: {error}") from None
        self._completions += reply.completions
        self._usages.append(reply.usage)
        self._notes += reply.notes
        if reply.choices < n:
            self._learn(Extra.N, reply.choices)
        return reply.choices

    def _learn(self, extra: Extra, max_n: int | None = None) -> None:
        note = self.server.learn(extra, max_n)
        if note is not None:
            self._notes.append(note)


def _check(ask: Ask) -> None:
    """Raise ConfigError for an ask that no server of this kind takes."""
    if len(ask.sampling.stop) > MAX_STOP_STRINGS:
        raise ConfigError(
            f"sampling.stop: {len(ask.sampling.stop)} stop strings, but this API takes at most {MAX_STOP_STRINGS}. "
            f"Leave some out."
        )


def _prompt_fields(prompt: Prompt, endpoint: str) -> dict[str, Any]:
    """The prompt in the endpoint's form; a text becomes one user message on the chat endpoint."""
    if endpoint == "chat":
        messages = prompt.messages or (Message(role="user", content=prompt.text or ""),)
        return {"messages": [{"role": message.role, "content": message.content} for message in messages]}
    if prompt.text is None:
        raise ConfigError(
            "teacher.endpoint: 'completions' continues a text, but the prompt is a chat. Set teacher.endpoint to chat, "
            "or prompt.chat to false."
        )
    return {"prompt": prompt.text}


def _get(results: "SimpleQueue[_Served]") -> _Served:
    """Wait for a result; woken now and then, so that Ctrl-C works on every system."""
    while True:
        try:
            return results.get(timeout=0.5)
        except Empty:
            continue


def _sum(usages: list[Usage]) -> Usage:
    """Usage of several requests; None as soon as one did not say, or where there was none."""

    def total(counts: list[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if counts and len(known) == len(counts) else None

    return Usage(
        prompt_tokens=total([usage.prompt_tokens for usage in usages]),
        completion_tokens=total([usage.completion_tokens for usage in usages]),
    )
