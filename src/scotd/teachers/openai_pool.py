"""The servers of one run: which has room, which one an ask goes to, and who goes on when one is lost.

    pool = Pool(config.teacher, addresses, servers, Patience())
    async with pool:
        await pool.room()               # until an ask may be sent somewhere
        place = pool.assign()           # the living server with most room

A server is lost where no request to it can succeed (401, 403, 404, no credit), where no connection comes about after
its tries, or where it asks for hours. What went there goes on at the others, said once; it is not asked again in this
run. The last one is given up only where no request can succeed: a server that answered before may come back.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from scotd.config import TeacherConfig
from scotd.errors import TeacherError
from scotd.teachers.openai_address import Address
from scotd.teachers.openai_form import Server
from scotd.teachers.openai_http import Change, Endpoint, LostError, Patience
from scotd.teachers.prices import CHARACTERS_A_TOKEN
from scotd.types import Usage


class Place:
    """A server in a run: its connection, its ways, and what a request to it will cost."""

    def __init__(self, endpoint: Endpoint, server: Server) -> None:
        self.endpoint, self.server = endpoint, server
        self._characters = self._tokens = 0

    def expected(self, body: dict[str, Any], completion_tokens: int) -> int:
        """Tokens that a request may be billed: its prompt, by what the server counted so far, and all it may write."""
        characters = _characters(body)
        rate = self._tokens / self._characters if self._characters else 1 / CHARACTERS_A_TOKEN
        return round(characters * rate) + completion_tokens

    def counted(self, body: dict[str, Any], expected: int, usage: Usage) -> None:
        """The server's own count of such a request; what was reserved for more goes back."""
        if usage.prompt_tokens is None:
            return
        self._characters += _characters(body)
        self._tokens += usage.prompt_tokens
        if usage.completion_tokens is not None:
            self.endpoint.pace.give_back(expected - usage.prompt_tokens - usage.completion_tokens)


class Pool:
    """See the module's docstring. It belongs to one event loop, and is an asynchronous context manager there."""

    def __init__(
        self, config: TeacherConfig, addresses: Sequence[Address], servers: Sequence[Server], patience: Patience
    ) -> None:
        self._changed = Change()
        self.places = [
            Place(Endpoint(config, address, patience, self._changed), server)
            for address, server in zip(addresses, servers, strict=True)
        ]
        self.stopped = False
        self._last: Exception | None = None  # what the last server was lost to

    async def __aenter__(self) -> "Pool":
        self._open = AsyncExitStack()
        for place in self.places:
            await self._open.enter_async_context(place.endpoint)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._open.aclose()

    @property
    def living(self) -> list[Place]:
        return [place for place in self.places if not place.endpoint.lost]

    @property
    def alone(self) -> bool:
        return len(self.places) == 1

    @property
    def allowed(self) -> int:
        """Requests that may be under way at once, at all servers together."""
        return sum(place.endpoint.pace.allowed for place in self.living)

    async def room(self) -> None:
        """Return when an ask may be sent somewhere now."""
        while True:
            waits = [place.endpoint.pace.ready_in for place in self.living if place.endpoint.room > 0]
            soonest = None if self.stopped else min(waits, default=None)
            if soonest == 0:
                return
            await self._changed.wait(soonest)

    def assign(self) -> Place | None:
        """The server for another ask, that with most room of those that are ready; None where none is left."""
        place = max(self.living, key=lambda one: (one.endpoint.pace.ready_in == 0, one.endpoint.room), default=None)
        if place is not None:
            place.endpoint.asks += 1
        return place

    def release(self, place: Place | None) -> None:
        """An ask has ended there."""
        if place is not None:
            place.endpoint.asks -= 1
            self._changed.tell()

    def lose(self, place: Place, error: Exception) -> str | None:
        """Ask this server no more. Returns the note for it if it is news; raises the error where no other is left."""
        known = place.endpoint.lost
        others = [one for one in self.living if one is not place]
        if not others and isinstance(error, LostError) and not known:
            raise error
        if not known:
            self._last = error
            place.endpoint.end(str(error))
        if not others:
            raise self.nobody_left()
        if known:
            return None
        shown = place.endpoint.address.shown
        return f"{shown} is not asked any more: {error} Its requests go on at {_number(len(others))}."

    def nobody_left(self) -> Exception:
        """The error that ends a run without servers."""
        last = self._last or TeacherError("no server was ever there")
        if self.alone:
            return last
        return TeacherError(f"{last} It was the last of {len(self.places)} servers.")

    def without_keys(self, error: Exception) -> Exception:
        """The error itself, or one that says the same without the key that it holds."""
        said = shown = repr(error)
        for place in self.places:
            shown = place.endpoint.address.redacted(shown)
        return error if shown == said else TeacherError(f"an error that cannot be shown whole: {shown}")

    def stop(self) -> None:
        """Send nothing more; answers under way may come."""
        self.stopped = True
        for place in self.places:
            place.endpoint.end()

    def status(self) -> str:
        """What goes on at the moment, for a progress bar: "12/16 requests under way, retried: HTTP 429 3"."""
        ways = [
            f"{place.endpoint.address.host} lost"
            if place.endpoint.lost
            else f"{place.endpoint.under_way}/{place.endpoint.pace.allowed}"
            + ("" if self.alone else f" at {place.endpoint.address.host}")
            for place in self.places
        ]
        troubles: Counter[str] = Counter()
        for place in self.places:
            troubles.update(place.endpoint.troubles)
        told = ", ".join(f"{kind} {count}" for kind, count in troubles.most_common())
        return f"under way {', '.join(ways)}" + (f", tried again: {told}" if told else "")


def _characters(body: dict[str, Any]) -> int:
    """Length of a request's prompt."""
    messages = body.get("messages")
    return len(body["prompt"]) if messages is None else sum(len(message["content"]) for message in messages)


def _number(servers: int) -> str:
    return "the other server" if servers == 1 else f"the other {servers} servers"
