"""How many requests are under way, and when the next one may go: learned from the server, bounded by the user.

    pace = Pace(most=64, requests_a_minute=500)
    if in_flight < pace.allowed: ...
    wait = pace.reserve(tokens)            # seconds until a request of that size may be sent
    pace.succeeded(sent) / pace.refused(sent, retry_after)

Concurrency grows while it helps: it doubles from round to round (a round: as many answers as are allowed at once) until
twice as many brought no more answers a second or the server refused; from then on it is tried a little higher now and
then. Answers a second are what is allowed over the mean seconds that an answer took (Little's law): counted answers of
a round are so few at first that their scatter would end the growth. A refusal (429, 5xx, time-out) takes a third off,
once for all requests that were sent before; the way back ends just below where the refusal came. Pure bookkeeping: the
clock is given, nothing sleeps here.
"""

import time
from collections.abc import Callable

START = 8
WORTH = 1.04  # times the answers a second, for growth to be kept
SPARE = 1.25  # times what a server works on: it should not wait for the client between two requests
MIN_ROUND = 8  # answers
SETBACK = 2 / 3
RECOVERY = 1.25  # a round, up to NEAR of where the refusal came
NEAR = 0.9
HOLD_ROUNDS = 16  # up there, before it is tried PROBE times higher
PROBE = 1.1
BURST_SECONDS = 1.0  # of the limits a minute: what may go at once after a pause


class Pace:
    """See the module's docstring. Not for several threads at once."""

    def __init__(
        self,
        *,
        most: int,
        requests_a_minute: float | None = None,
        tokens_a_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._clock = most, clock
        self._allowed = float(min(START, most))
        self._doubling = True
        self._trial: tuple[float, float] | None = None  # allowed and rate before the growth that is on trial
        self._ceiling = float(most)  # where it is known not to help or to be refused
        self._hold = 0
        self._set_back_at = -float("inf")
        self._not_before = -float("inf")
        self._requests = _Bucket(requests_a_minute, clock)
        self._tokens = _Bucket(tokens_a_minute, clock)
        self._full = False
        self._begin_round()

    @property
    def allowed(self) -> int:
        """Requests that may be under way at once; 1 or more."""
        return max(1, int(self._allowed))

    def reserve(self, tokens: int) -> float:
        """Take a request of so many tokens out of the limits; returns the seconds to wait before it is sent."""
        return max(self.held, self._requests.take(1), self._tokens.take(tokens))

    @property
    def held(self) -> float:
        """Seconds until the time that a Retry-After named; 0 where nothing is held."""
        return max(0.0, self._not_before - self._clock())

    @property
    def ready_in(self) -> float:
        """Seconds until a request may be planned: nothing is held, and the limits owe nothing."""
        return max(self.held, self._requests.take(0), self._tokens.take(0))

    def give_back(self, tokens: int) -> None:
        """Tokens that were reserved and not used."""
        self._tokens.take(-tokens)

    def busy(self, in_flight: int) -> None:
        """Told when a request is sent: growth counts only where all that was allowed was used."""
        self._full = self._full or in_flight >= self.allowed

    def succeeded(self, sent: float) -> None:
        """An answer to a request sent at that time has come; one that was sent before the round does not count."""
        if sent < self._since:
            return
        self._answers += 1
        self._seconds += self._clock() - sent
        if self._answers >= max(MIN_ROUND, self.allowed):
            self._end_round()

    def refused(self, sent: float, retry_after: float | None = None) -> None:
        """The server was too busy for a request sent at that time."""
        now = self._clock()
        if retry_after is not None:
            self._not_before = max(self._not_before, now + retry_after)
        if sent < self._set_back_at:
            return  # sent under the old allowance, which was taken back already
        self._set_back_at = now
        self._doubling, self._trial, self._hold = False, None, HOLD_ROUNDS
        self._ceiling, self._allowed = self._allowed, max(1.0, self._allowed * SETBACK)
        self._begin_round()

    def _begin_round(self) -> None:
        self._answers, self._seconds, self._full, self._since = 0, 0.0, False, self._clock()

    def _end_round(self) -> None:
        rate = self.allowed * self._answers / self._seconds if self._seconds > 0 else float("inf")
        full = self._full
        self._begin_round()
        if self._trial is not None:
            (before, earlier), self._trial = self._trial, None
            if rate < earlier * WORTH:
                self._allowed = min(float(self._most), before * SPARE) if self._doubling else before
                self._ceiling = self._allowed / NEAR
                self._doubling, self._hold = False, HOLD_ROUNDS
                return
        if not full or self._allowed >= self._most:
            return
        if self._doubling:
            self._grow(2.0, rate)
        elif self._allowed < NEAR * self._ceiling:
            self._allowed = min(self._allowed * RECOVERY, NEAR * self._ceiling)
        elif self._hold > 0:
            self._hold -= 1
        else:
            self._hold = HOLD_ROUNDS
            self._grow(PROBE, rate)
            self._ceiling = max(self._ceiling, self._allowed)

    def _grow(self, times: float, rate: float) -> None:
        self._trial = self._allowed, rate
        self._allowed = min(float(self._most), max(self._allowed + 1, self._allowed * times))


def least_seconds(amount: float, a_minute: float) -> float:
    """Seconds before the last of so much may be sent to a server, at the earliest, under a limit a minute."""
    return _Bucket(a_minute, lambda: 0.0).take(amount)


class _Bucket:
    """A limit a minute that fills evenly; what is taken beyond its contents is waited for."""

    def __init__(self, a_minute: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._a_second = None if a_minute is None else a_minute / 60
        self._held = 0.0 if self._a_second is None else max(1.0, self._a_second * BURST_SECONDS)
        self._most = self._held
        self._at = clock()

    def take(self, amount: float) -> float:
        if self._a_second is None:
            return 0.0
        now = self._clock()
        self._held = min(self._most, self._held + (now - self._at) * self._a_second) - amount
        self._at = now
        return max(0.0, -self._held / self._a_second)
