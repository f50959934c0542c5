"""One server, one owner of retries: a request goes in, a JSON answer comes out, or the reason why not.

    async with Endpoint(config.teacher, address, Patience(), Change()) as endpoint:
        answer = await endpoint.post(body, tokens=900, notes=[])

Retried with growing, jittered waits and the server's Retry-After: no connection, time-outs, cut connections, HTTP 408,
409, 425, 429 and 5xx. Nothing else is asked again; an unreadable answer with HTTP 200 is not either, as it was probably
billed. How many requests are under way, and when one may go, says the `Pace`; while a request waits for its next try it
lets others go. The address and its key: `openai_address.py`.
"""

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from scotd import __version__
from scotd.config import TeacherConfig
from scotd.teachers.openai_address import Address
from scotd.teachers.openai_replies import Extra, error_code, error_message, refused_in_error, shorten
from scotd.teachers.pace import Pace

HOPELESS = {401, 402, 403, 404, 405}  # the next request will fare no better
RETRIED = {408, 409, 425, 429}
NOT_IMPLEMENTED = 501
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
CONNECT_SECONDS = 15.0
KEPT_ALIVE_SECONDS = 3.0  # less than servers keep an idle connection (uvicorn: 5), else requests meet one that closes

NOTE_LOST = "an answer was lost on the way and may be billed though it never came"
STOPPED = "stopped: the run ended before this was asked for"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is tried. Waits are in seconds; they double from try to try and are jittered down by up to a half.

    `tries_before_contact` bounds the tries while the server has not answered at all (a wrong address should not take a
    minute to tell). `failures_in_a_row` ends a run in which nothing succeeds any more, `drain_seconds` is how long
    answers under way are waited for then.
    """

    tries: int = 6
    tries_before_contact: int = 3
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 300.0
    failures_in_a_row: int = 20
    drain_seconds: float = 5.0

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds to wait after try number `attempt` (0, 1, ...); `chance` is uniform in [0, 1)."""
        full: float = min(self.longest_wait, self.first_wait * 2.0**attempt)
        return full * (1 - chance / 2)


class GaveUpError(Exception):
    """This request failed for good, the next one may succeed; the message is the outcome's error."""


class LostError(GaveUpError):
    """The same, and the next request to this server will hardly fare better: another server should be asked."""


class UnreadableError(GaveUpError):
    """An answer came and cannot be read; it was billed, probably."""


class RefusedError(Exception):
    """The server understood the request and refuses it; `body` may tell what in it."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {error_message(body)}")
        self.body = body


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """What came of a try that may be repeated. `wished` is the server's Retry-After in seconds."""

    message: str
    unconnected: bool = False
    wished: float | None = None


class Endpoint:
    """One server in one run. It belongs to one event loop, and is an asynchronous context manager there.

    `asks` counts the asks that go there, whether on their way or waiting; `troubles` the tries that failed, by kind.
    `changed` is told whenever there may be room.
    """

    def __init__(self, config: TeacherConfig, address: Address, patience: Patience, changed: "Change") -> None:
        self._config, self._patience = config, patience
        self.address, self.changed = address, changed
        self.pace = Pace(
            most=config.concurrency,
            requests_a_minute=config.requests_per_minute,
            tokens_a_minute=config.tokens_per_minute,
        )
        self.asks = self.under_way = 0
        self.troubles: Counter[str] = Counter()
        self._over = asyncio.Event()
        self._lost: str | None = None
        self._contact = False
        self._jitter = random.Random()

    async def __aenter__(self) -> "Endpoint":
        self._client = await self.client().__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._client.aclose()

    @property
    def room(self) -> int:
        """How many more asks may go there now."""
        return self.pace.allowed - self.asks

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def end(self, reason: str | None = None) -> None:
        """Send nothing more: the run ends, or (`reason`) this server cannot be had. Answers under way may come."""
        self._lost = self._lost or reason
        self._over.set()
        self.changed.tell()

    def client(self) -> httpx.AsyncClient:
        """A client for one run; a loopback server is never asked through a proxy."""
        seconds = self._config.timeout_seconds
        return httpx.AsyncClient(
            timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=self._config.concurrency,
                keepalive_expiry=KEPT_ALIVE_SECONDS,
            ),
            headers={"User-Agent": f"scotd/{__version__}"},
            trust_env=not self.address.is_loopback,
        )

    async def post(
        self,
        body: dict[str, Any],
        *,
        tokens: int = 0,
        extras: frozenset[Extra] = frozenset(),
        notes: list[str],
    ) -> object:
        """Return the JSON value of the answer. `tokens` is what it may cost, `extras` what the server may refuse;
        remarks go into `notes`.

        Raises RefusedError, GaveUpError, LostError, or TeacherError where no request can succeed.
        """
        attempt = 0
        while True:
            async with self._turn(tokens):
                answer = await self._try(body, extras, notes)
            if isinstance(answer, httpx.Response):
                return self._json(answer)
            attempt += 1
            self.troubles[answer.message.partition(":")[0]] += 1
            self._raise_if_unreachable(attempt, answer)
            if attempt >= self._patience.tries:
                error = LostError if answer.unconnected else GaveUpError
                raise error(f"{answer.message} (tried {attempt} times)")
            await self._pause(self._wait(attempt - 1, answer))
            if self._over.is_set():
                self._raise_over(f"{answer.message} (tried {attempt} times)")

    @asynccontextmanager
    async def _turn(self, tokens: int) -> AsyncIterator[None]:
        """A turn among the requests under way, taken when the pace lets one go."""
        while self.under_way >= self.pace.allowed and not self._over.is_set():
            await self.changed.wait()
        self.under_way += 1
        try:
            wait = self.pace.reserve(tokens)
            while wait > 0 and not self._over.is_set():
                await self._pause(wait)
                wait = self.pace.held  # of a Retry-After that came meanwhile
            if self._over.is_set():
                self._raise_over(STOPPED)
            self.pace.busy(self.under_way)
            yield
        finally:
            self.under_way -= 1
            self.changed.tell()

    async def _try(
        self, body: dict[str, Any], extras: frozenset[Extra], notes: list[str]
    ) -> "httpx.Response | _Failed":
        """Send a request once, and tell the pace how it went. Raises RefusedError and TeacherError."""
        key = self.address.key()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        sent = time.monotonic()
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                response = await self._client.post(self.address.url, json=body, headers=headers)
        except (httpx.RequestError, TimeoutError) as error:
            kind = _kind(error)
            if kind != "connection lost":
                self.pace.refused(sent)
            unconnected = isinstance(error, NEVER_SENT)
            if not unconnected:
                self._contact = True
                notes.append(NOTE_LOST)
            said = shorten(self.address.redacted(str(error))) or type(error).__name__
            if kind == "timeout":
                said = f"no answer within {self._config.timeout_seconds:g} s"
            return _Failed(message=f"{kind}: {said}", unconnected=unconnected)
        self._contact = True
        if response.is_success:
            self.pace.succeeded(sent)
            return response
        text = self.address.redacted(response.text)
        self._raise_unless_retried(response.status_code, text, extras)
        wished = retry_after(response.headers, time.time())
        too_long = wished is not None and wished > self._patience.longest_retry_after
        self.pace.refused(sent, None if too_long else wished)
        return _Failed(message=f"HTTP {response.status_code}: {error_message(text)}", wished=wished)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless this server's part in the run is over before."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            pass

    def _wait(self, attempt: int, failed: _Failed) -> float:
        """Seconds until the next try: the server's wish, jittered up, or ours. Raises LostError for an hour."""
        wished = failed.wished
        if wished is None:
            return self._patience.wait(attempt, self._jitter.random())
        if wished > self._patience.longest_retry_after:
            raise LostError(f"{failed.message} (the server asks to wait {wished:.0f} s)")
        return wished + self._jitter.random() * min(wished, self._patience.first_wait)

    def _raise_over(self, message: str) -> None:
        raise GaveUpError(message) if self._lost is None else LostError(self._lost)

    def _raise_unless_retried(self, status: int, text: str, extras: frozenset[Extra]) -> None:
        """Return where a retry may help; else raise what the status means."""
        no_credit = status == httpx.codes.TOO_MANY_REQUESTS and error_code(text) == "insufficient_quota"
        if status in HOPELESS or 300 <= status < 400 or no_credit:
            raise self.address.hopeless(status, text)
        refused = status == NOT_IMPLEMENTED or (400 <= status < 500 and status not in RETRIED)
        if refused or (status == httpx.codes.INTERNAL_SERVER_ERROR and refused_in_error(text, extras)):
            raise RefusedError(status, text)

    def _raise_if_unreachable(self, attempt: int, failed: _Failed) -> None:
        if not self._contact and attempt >= min(self._patience.tries_before_contact, self._patience.tries):
            raise self.address.unreachable(failed.message)

    def _json(self, response: httpx.Response) -> object:
        try:
            return json.loads(self.address.redacted_bytes(response.content))
        except ValueError:
            shown = shorten(self.address.redacted(response.text)) or "an empty body"
            raise UnreadableError(f"unreadable answer: not JSON but {shown}") from None


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Seconds that a server asks to wait (a number or a date; `now` in seconds since 1970); None where it does not."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _kind(error: httpx.RequestError | TimeoutError) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "no connection"
    return "timeout" if isinstance(error, httpx.TimeoutException | TimeoutError) else "connection lost"


class Change:
    """Wakes whoever waits for something to change."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next change, or for so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            self._waiting.discard(future)
