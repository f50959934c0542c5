"""One ask on its way to a server: requests in the form that the server takes, until each index was asked for once.

What a server cannot do (`n`, log-probabilities, seeds, `max_tokens`) is learned from its refusals, each server's for
itself, and noted once. What came so far survives whatever ends an ask: another server goes on where one was lost.
"""

from dataclasses import dataclass

from scotd.errors import ConfigError, TeacherError
from scotd.teachers import Ask, Outcome
from scotd.teachers.openai_http import NOTE_LOST, STOPPED, GaveUpError, LostError, RefusedError, UnreadableError
from scotd.teachers.openai_pool import Place, Pool
from scotd.teachers.openai_replies import Extra, MalformedError, Reply, read_reply, refused_extra, stated_cap
from scotd.types import Completion, ServerCap, Usage

MAX_STOP_STRINGS = 4
LOST = Usage(unsaid=1, lost=1)  # it may be billed


@dataclass(kw_only=True)
class Errand:
    """One ask on its way. It belongs to one event loop; `place` is where it goes, None where no server is left."""

    ask: Ask
    pool: Pool

    def __post_init__(self) -> None:
        self.place = self.pool.assign()
        self._asked = 0
        self._completions: list[Completion] = []
        self._usages: list[Usage] = []
        self._notes: list[str] = []
        self._caps: list[ServerCap] = []

    def outcome(self, error: str | None) -> Outcome:
        return Outcome(
            ask=self.ask,
            completions=tuple(self._completions),
            usage=_sum([*self._usages, *[LOST] * self._notes.count(NOTE_LOST)]),
            error=error,
            notes=tuple(self._notes),
            status=self.pool.status(),
            caps=tuple(self._caps),
        )

    async def run(self) -> None:
        """Send requests until every index was asked for once. Raises GaveUpError or ScotdError."""
        try:
            _check(self.ask)
            while self._asked < len(self.ask.indices):
                if self.pool.stopped:
                    raise GaveUpError(STOPPED)
                if self.place is None:
                    raise self.pool.nobody_left()
                try:
                    await self._request(self.place)
                except UnreadableError:
                    self._usages.append(Usage(unsaid=1, unreadable=1))
                    raise
                except (LostError, TeacherError) as error:
                    note = self.pool.lose(self.place, error)  # raises the error where no other server is left
                    self._notes += [] if note is None else [note]
                    self.pool.release(self.place)
                    self.place = self.pool.assign()
        finally:
            self.pool.release(self.place)

    async def _request(self, place: Place) -> None:
        """Have one request answered; it is sent again without what the server refuses."""
        refused: frozenset[Extra] = frozenset()  # held to be the server's way only once a request without it works
        stated: int | None = None
        left = len(self.ask.indices) - self._asked
        while True:
            server = place.server
            n = min(cap for cap in (left, server.max_n, stated) if cap is not None)
            body, extras = server.request(self.ask, self._asked, n, server.refuses | refused)
            tokens = place.expected(body, n * self.ask.sampling.max_tokens)
            try:
                answer = await place.endpoint.post(body, tokens=tokens, extras=extras, notes=self._notes)
            except RefusedError as refusal:
                extra = refused_extra(refusal.body, extras)
                if extra is None:
                    raise GaveUpError(str(refusal)) from None
                if extra is Extra.N:
                    stated = stated_cap(refusal.body, n)
                else:
                    refused |= {extra}
                continue
            break
        reply = self._keep(answer, n, extras)
        place.counted(body, tokens, reply.usage)
        before = place.server.max_n
        self._note(place, place.server.gave(n, reply.choices))
        if stated is not None:
            self._note(place, place.server.learn(Extra.N, stated))
        if place.server.max_n is not None and place.server.max_n != before:
            self._caps.append(place.endpoint.address.cap(place.server.max_n))
        for extra in sorted(refused):
            self._note(place, place.server.learn(extra))

    def _keep(self, answer: object, n: int, extras: frozenset[Extra]) -> Reply:
        """Keep what an answer holds."""
        try:
            reply = read_reply(answer, self.ask.sampling, n=n, logprobs=Extra.LOGPROBS in extras)
        except MalformedError as error:
            raise UnreadableError(f"unreadable answer: {error}") from None
        self._asked += reply.choices
        self._completions += reply.completions
        self._usages.append(reply.usage)
        self._notes += reply.notes
        return reply

    def _note(self, place: Place, note: str | None) -> None:
        if note is not None:
            self._notes.append(note if self.pool.alone else f"{place.endpoint.address.host}: {note}")


def _check(ask: Ask) -> None:
    """Raise ConfigError for an ask that no server of this kind takes."""
    if len(ask.sampling.stop) > MAX_STOP_STRINGS:
        raise ConfigError(
            f"sampling.stop: {len(ask.sampling.stop)} stop strings, but this API takes at most {MAX_STOP_STRINGS}. "
            f"Leave some out."
        )


def _sum(usages: list[Usage]) -> Usage:
    """Usage of several requests: what was said, and how many did not say all."""

    def total(counts: list[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    return Usage(
        prompt_tokens=total([usage.prompt_tokens for usage in usages]),
        completion_tokens=total([usage.completion_tokens for usage in usages]),
        unsaid=sum(usage.unsaid for usage in usages),
        lost=sum(usage.lost for usage in usages),
        unreadable=sum(usage.unreadable for usage in usages),
    )
