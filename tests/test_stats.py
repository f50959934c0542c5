"""Intervals against published values, the paired test against values computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.stats import Interval, mcnemar_exact, paired_counts, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_reproduces_newcombe(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 10, 0.95).low == 0.0
    assert wilson(10, 10, 0.95).high == 1.0
    assert wilson(10, 10, 0.95).low == pytest.approx(1 - wilson(0, 10, 0.95).high)


@given(n=st.integers(1, 10_000), data=st.data(), confidence=st.floats(0.01, 0.999))
def test_wilson_holds_the_proportion_and_is_symmetric(n: int, data: st.DataObject, confidence: float) -> None:
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1
    assert Interval(low, high) == pytest.approx(
        (1 - wilson(n - successes, n, confidence).high, 1 - wilson(n - successes, n, confidence).low), abs=1e-12
    )
    assert wilson(successes, n, confidence / 2).low >= low


def test_wilson_agrees_with_scipy() -> None:
    from scipy.stats import binomtest

    for successes, n, confidence in [(3, 17, 0.95), (600, 872, 0.99), (1, 2, 0.8)]:
        expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
        assert wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("successes", "n", "confidence"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="found"):
        wilson(successes, n, confidence)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 2 / 2**5),  # both tails: 2 * (1/2)^5
        (1, 9, 2 * (1 + 10) / 2**10),  # 2 * (C(10,0) + C(10,1)) / 2^10
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
        (5, 5, 1.0),
        (4, 11, 2 * (1 + 15 + 105 + 455 + 1365) / 2**15),
    ],
)
def test_mcnemar_against_values_by_hand(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, rel=1e-12)
    assert mcnemar_exact(only_b, only_a) == pytest.approx(p, rel=1e-12)


@given(only_a=st.integers(0, 60), only_b=st.integers(0, 60))
def test_mcnemar_is_twice_the_smaller_tail(only_a: int, only_b: int) -> None:
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert mcnemar_exact(only_a, only_b) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="-1"):
        mcnemar_exact(-1, 3)


def test_paired_counts() -> None:
    a = {"t/1": True, "t/2": True, "t/3": False, "t/4": False, "t/5": True}
    b = {"t/5": False, "t/1": True, "t/2": False, "t/3": True, "t/4": False}
    assert paired_counts(a, b) == (1, 2, 1, 1)
    assert paired_counts({}, {}) == (0, 0, 0, 0)


def test_paired_counts_refuses_different_questions() -> None:
    with pytest.raises(ValueError, match=r"2 question.*first: t/2"):
        paired_counts({"t/1": True, "t/2": True}, {"t/1": True, "t/3": False})
