"""The pace of requests against simulated servers: it finds their capacity, backs off, and keeps limits."""

import heapq
import random
from collections.abc import Callable

import pytest

from scotd.teachers.pace import HOLD_ROUNDS, START, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulate(
    answers: int,
    *,
    seconds: Callable[[int], float],
    refuses_above: int | None = None,
    most: int = 512,
    requests_a_minute: float | None = None,
    tokens_a_minute: float | None = None,
) -> tuple[float, list[int], int]:
    """Serve that many answers; `seconds` says how long one takes with so many under way. Returns the time taken, what
    was allowed at each answer, and how many were refused."""
    clock = Clock()
    pace = Pace(most=most, clock=clock, requests_a_minute=requests_a_minute, tokens_a_minute=tokens_a_minute)
    under_way: list[tuple[float, int, float, bool]] = []
    allowed: list[int] = []
    done = refused = number = 0
    while done < answers:
        while len(under_way) < pace.allowed and done + len(under_way) < answers + pace.allowed:
            wait = pace.reserve(100)
            sent = clock.now + wait
            busy = refuses_above is not None and len(under_way) >= refuses_above
            took = 0.01 if busy else seconds(len(under_way) + 1)
            number += 1
            heapq.heappush(under_way, (sent + took, number, sent, busy))
            pace.busy(len(under_way))
        clock.now, _, sent, busy = heapq.heappop(under_way)
        if busy:
            refused += 1
            pace.refused(sent)
        else:
            done += 1
            pace.succeeded(sent)
        allowed.append(pace.allowed)
    return clock.now, allowed, refused


def test_it_grows_to_what_a_server_with_slots_can_use() -> None:
    took, allowed, _ = simulate(20_000, seconds=lambda under_way: max(1.0, under_way / 64))
    assert 20_000 / took > 0.95 * 64  # answers a second, of 64 that are possible
    assert max(allowed) <= 4 * 64 and allowed[-1] <= 2.5 * 64  # and it does not run away


def test_a_server_that_is_never_too_busy_is_asked_as_much_as_the_user_allows() -> None:
    took, allowed, _ = simulate(20_000, seconds=lambda _: 1.0, most=200)
    assert max(allowed) == 200
    assert 20_000 / took > 0.9 * 200


@pytest.mark.parametrize("seed", range(10))
def test_answers_that_take_very_different_times_do_not_end_the_growth(seed: int) -> None:
    draw = random.Random(seed)  # a third as long to three times as long, in the middle
    _, allowed, _ = simulate(1_000, seconds=lambda _: draw.lognormvariate(0, 0.6), most=64)
    assert allowed[300] >= 32 and allowed[-1] == 64


def test_refusals_set_it_back_once_and_it_settles_near_the_capacity() -> None:
    took, allowed, refused = simulate(20_000, seconds=lambda _: 1.0, refuses_above=50)
    assert 20_000 / took > 0.75 * 50
    assert refused < 0.05 * 20_000
    assert min(allowed[5_000:]) >= 20


def test_requests_that_were_sent_before_a_setback_do_not_count_again() -> None:
    clock = Clock()
    pace = Pace(most=64, clock=clock)
    for _ in range(64):
        pace.busy(pace.allowed)
        pace.succeeded(clock.now)
        clock.now += 0.001
    before = pace.allowed
    sent = clock.now
    clock.now += 1
    for _ in range(10):
        pace.refused(sent)
    assert pace.allowed == before * 2 // 3
    clock.now += 1
    pace.refused(clock.now)
    assert pace.allowed == before * 4 // 9


def test_nothing_grows_where_nothing_waits_to_be_sent() -> None:
    clock = Clock()
    pace = Pace(most=64, clock=clock)
    for _ in range(1_000):
        pace.busy(1)
        clock.now += 0.1
        pace.succeeded(clock.now)
    assert pace.allowed == START


def test_retry_after_holds_everything() -> None:
    clock = Clock()
    pace = Pace(most=8, clock=clock)
    pace.refused(0.0, retry_after=7.0)
    assert pace.reserve(1) == pytest.approx(7.0)
    clock.now = 5
    assert pace.reserve(1) == pytest.approx(2.0)
    clock.now = 8
    assert pace.reserve(1) == 0


def test_limits_a_minute_are_kept_and_used() -> None:
    for took, _, _ in (
        simulate(2_000, seconds=lambda _: 0.5, requests_a_minute=600),
        simulate(2_000, seconds=lambda _: 0.5, tokens_a_minute=60_000),
    ):
        assert 0.95 * 10 < 2_000 / took < 1.02 * 10  # answers a second


def test_tokens_given_back_may_be_used_again() -> None:
    clock = Clock()
    pace = Pace(most=8, tokens_a_minute=6_000, clock=clock)
    assert pace.reserve(100) == 0  # the burst of a second
    pace.give_back(60)
    assert pace.reserve(60) == 0
    assert pace.reserve(50) == pytest.approx(0.5)


def test_it_never_falls_below_one() -> None:
    clock = Clock()
    pace = Pace(most=1, clock=clock)
    for _ in range(5):
        clock.now += 1
        pace.refused(clock.now)
    assert pace.allowed == 1
    for _ in range(HOLD_ROUNDS * 20):
        pace.busy(1)
        clock.now += 1
        pace.succeeded(clock.now)
    assert pace.allowed == 1
