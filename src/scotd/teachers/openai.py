"""A teacher behind any OpenAI-compatible endpoint: OpenAI, vLLM, SGLang, llama.cpp's server, Ollama, ...

    teacher = OpenAITeacher(config.teacher)
    for outcome in teacher.complete(iter(asks)): ...

One request asks for all chains of an ask (`n`), so that the prompt is billed once. A server that refuses `n` above 1,
caps it, or sends fewer choices than asked gets several requests; what came is kept, the cap holds for the rest of the
run. What a server cannot do (`n`, log-probabilities, seeds, `max_tokens`) is learned from its refusal and noted once.

- The asks of a run live on one event loop in a thread of its own; the caller's thread pulls them, as pulling journals
  them, one whenever there is room at a server, and yields what comes back.
- One server, its retries and waits: `openai_http.py`; its address and key: `openai_address.py`; how much at once:
  `pace.py`. Several servers: `openai_pool.py`. Requests: `openai_form.py`, `openai_asks.py`. Reading answers and
  refusals: `openai_replies.py`.
- After the last try an ask is an outcome with an `error`. TeacherError is raised where no request can succeed (401,
  403, 404, no server) at any server, or where too many fail in a row.
- A seed goes only with a request for one chain: with `n` above 1 one seed would stand for several chains.
- Log-probabilities are asked for at temperature 1 without top-p, top-k and min-p only: elsewhere servers differ in what
  the numbers mean.
- `top_k` and `min_p` 0 are not sent, as OpenAI refuses the fields. vLLM then takes the model's own defaults; start it
  with `--generation-config vllm` so that what it draws from is what the corpus says.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from scotd.config import TeacherConfig
from scotd.errors import TeacherError
from scotd.teachers import FATAL, Ask, Outcome, teacher_name
from scotd.teachers.openai_address import Address
from scotd.teachers.openai_asks import Errand
from scotd.teachers.openai_form import Server
from scotd.teachers.openai_http import GaveUpError, Patience
from scotd.teachers.openai_pool import Pool
from scotd.teachers.openai_replies import Extra
from scotd.types import ServerCap

AHEAD = 4  # of what may be under way, so large a part is journaled ahead: a kill leaves little that was never sent
CLOSING_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class _Served:
    """What came of an ask. `fatal` ends the run after the outcome was yielded."""

    outcome: Outcome
    fatal: BaseException | None = None


@dataclass(frozen=True, kw_only=True)
class _Room:
    """Another ask may be sent now."""


_Said = _Served | _Room | BaseException  # the last: a defect of the loop itself


class OpenAITeacher:
    """See the module's docstring. `known` are caps that earlier sittings found, of these servers and of others. Raises
    ConfigError for a `base_url` that is none."""

    def __init__(
        self, config: TeacherConfig, patience: Patience | None = None, known: Sequence[ServerCap] = ()
    ) -> None:
        self._config = config
        self._patience = patience or Patience()
        self._addresses = [Address(config, address, teacher=self.name) for address in config.base_urls]
        self._servers = [Server(config) for _ in self._addresses]
        self.remembered = tuple(
            cap
            for cap in known
            for address, server in zip(self._addresses, self._servers, strict=True)
            if cap == address.cap(cap.max_n) and server.learn(Extra.N, cap.max_n) is not None
        )
        self._pool = self._new_pool()

    @property
    def name(self) -> str:
        return teacher_name(self._config)

    @property
    def batch(self) -> int:
        return max(1, self._pool.allowed // AHEAD)

    @property
    def max_n(self) -> int | None:
        """The configured bound, or the greatest that a server of the run gives, once that was met."""
        caps = [place.server.max_n for place in self._pool.living or self._pool.places]
        known = [cap for cap in caps if cap is not None]
        return max(known) if len(known) == len(caps) else None

    def complete(self, asks: Iterator[Ask]) -> Generator[Outcome, None, None]:
        """See `Teacher.complete`. How many requests are under way the servers' paces say."""
        self._pool = self._new_pool()
        in_flight = widest = in_a_row = 0
        more = True
        with _LoopThread(self._pool) as loop:
            while more or in_flight:
                said = _get(loop.said)
                if isinstance(said, BaseException):
                    raise said
                if isinstance(said, _Room):
                    ask = next(asks, None)
                    more = ask is not None
                    in_flight += more
                    widest = max(widest, in_flight)
                    loop.send(ask)
                    continue
                in_flight -= 1
                failed = said.outcome.error is not None and not said.outcome.completions
                in_a_row = in_a_row + 1 if failed else 0
                fatal = said.fatal or self._too_many(in_a_row, widest, said.outcome.error)
                if fatal is not None:
                    loop.stop()
                yield said.outcome
                if fatal is not None:
                    yield from self._drain(loop.said, in_flight)
                    raise fatal

    def _new_pool(self) -> Pool:
        return Pool(self._config, self._addresses, self._servers, self._patience)

    def _too_many(self, in_a_row: int, widest: int, error: str | None) -> TeacherError | None:
        """The error that ends a run of nothing but failures; twice what was under way, so that one outage is no end."""
        if in_a_row < max(self._patience.failures_in_a_row, 2 * widest):
            return None
        shown = " and ".join(place.endpoint.address.shown for place in self._pool.living)
        return TeacherError(
            f"Teacher {self.name}: the last {in_a_row} requests to {shown} failed, the last one with '{error}'. What "
            f"had arrived is kept: run the same command again to go on."
        )

    def _drain(self, said: "SimpleQueue[_Said]", in_flight: int) -> Iterator[Outcome]:
        """Outcomes under way that arrive within a few seconds: they are paid for."""
        deadline = time.monotonic() + self._patience.drain_seconds
        while in_flight:
            try:
                one = said.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return
            if isinstance(one, _Served):
                in_flight -= 1
                yield one.outcome


class _LoopThread:
    """The event loop with the asks under way, in a thread of its own. Leaving the context ends what is under way.

    `said` is what it has to say: that there is room for one more ask (`send` answers that), and what came of each.
    """

    def __init__(self, pool: Pool) -> None:
        self.said: SimpleQueue[_Said] = SimpleQueue()
        self._pool = pool
        self._loop = asyncio.new_event_loop()
        self._asks: asyncio.Queue[Ask | None] = asyncio.Queue()
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True, name="scotd-asks")

    def __enter__(self) -> "_LoopThread":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._tell(self._closing.set)
        self._thread.join(CLOSING_SECONDS)

    def send(self, ask: Ask | None) -> None:
        """The ask for which there was room; None where there are no more."""
        self._tell(self._asks.put_nowait, ask)

    def stop(self) -> None:
        """Send no more requests; answers under way may come."""
        self._tell(self._pool.stop)

    def _tell(self, what: Callable[..., object], *values: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended: what it had to say is in the queue
            self._loop.call_soon_threadsafe(what, *values)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._work())
        except BaseException as error:  # raised in the caller's thread: a defect of ours is not lost in this one
            self.said.put(error)

    async def _work(self) -> None:
        async with self._pool:
            dispatch = asyncio.create_task(self._dispatch())
            closing = asyncio.create_task(self._closing.wait())
            try:
                await asyncio.wait([dispatch, closing], return_when=asyncio.FIRST_COMPLETED)
                if dispatch.done():
                    dispatch.result()
                    await closing
            finally:
                tasks = [dispatch, closing, *self._tasks]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _dispatch(self) -> None:
        """Ask for an ask whenever there is room for one."""
        while True:
            await self._pool.room()
            self.said.put(_Room())
            ask = await self._asks.get()
            if ask is None:
                return
            task = asyncio.create_task(self._serve(Errand(ask=ask, pool=self._pool)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)  # it takes its place and its tokens before there is said to be room for another

    async def _serve(self, errand: Errand) -> None:
        """Serve one ask; whatever happens, it says exactly one thing, unless the run was left."""
        try:
            await errand.run()
            served = _Served(outcome=errand.outcome(None))
        except GaveUpError as error:
            served = _Served(outcome=errand.outcome(str(error)))
        except Exception as error:
            fatal = self._pool.without_keys(error)
            served = _Served(outcome=errand.outcome(f"{FATAL}: {fatal!r}"), fatal=fatal)
        self.said.put(served)


def _get(said: "SimpleQueue[_Said]") -> _Said:
    """Wait for something to be said; woken now and then, so that Ctrl-C works on every system."""
    while True:
        try:
            return said.get(timeout=0.5)
        except Empty:
            continue
