"""Intervals against published values, the paired test against values computed by hand."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.stats import (
    Bootstrap,
    Interval,
    detectable_difference,
    mcnemar_exact,
    needed_surplus,
    paired_counts,
    wilson,
)


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


@pytest.mark.parametrize("discordant", range(0, 40))
def test_needed_surplus_is_the_smallest(discordant: int) -> None:
    for alpha in (0.05, 0.0625, 0.2):  # 0.0625 is a p that 5 pairs can reach, and is not below itself
        clear = [
            surplus
            for surplus in range(discordant % 2, discordant + 1, 2)
            if mcnemar_exact((discordant + surplus) // 2, (discordant - surplus) // 2) < alpha
        ]
        assert needed_surplus(discordant, alpha) == (min(clear) if clear else None)


# -- bootstrap


def enumerated(values: list[list[int]]) -> list[float]:
    """The means of all equally likely resamples of seeds and questions."""
    seeds, questions = len(values), len(values[0])
    return [
        sum(values[s][q] for s in rows for q in columns) / (seeds * questions)
        for rows in product(range(seeds), repeat=seeds)
        for columns in product(range(questions), repeat=questions)
    ]


@pytest.mark.parametrize("values", [[[1, 0, 0, 1]], [[1, 1, 0], [0, 1, 0]], [[1, 0], [1, 1], [0, 0]]])
def test_bootstrap_draws_what_an_enumeration_of_all_resamples_holds(values: list[list[int]]) -> None:
    everything = np.array(enumerated(values))
    for confidence in (0.5, 0.7, 0.95):
        mean, interval = Bootstrap(confidence).mean(values)
        assert mean == pytest.approx(np.mean(values))
        low, high = np.quantile(everything, [(1 - confidence) / 2, (1 + confidence) / 2])
        assert interval == pytest.approx((low, high), abs=0.02)  # the next value lies 1 / 8 away or more


def test_bootstrap_p_by_hand() -> None:
    # One seed: the difference is at most 0 only where all three draws are the third question.
    assert Bootstrap(0.95).difference([[1, 1, 1]], [[0, 0, 1]]).p == pytest.approx(2 / 27, abs=0.012)
    # Two seeds that contradict each other: half of the resamples hold both alike, a quarter each one alone.
    opposed = Bootstrap(0.95).difference([[1, 1], [0, 0]], [[0, 0], [1, 1]])
    assert [*opposed] == [0, (-1, 1), 1]
    assert [*Bootstrap(0.95).difference([[1] * 9], [[0] * 9])] == [1, (1, 1), 2 / 10_001]
    one, other = [[1, 1, 0, 1, 1]], [[0, 1, 0, 0, 1]]
    there, back = Bootstrap(0.9).difference(one, other), Bootstrap(0.9).difference(other, one)
    assert (there.mean, there.p) == (-back.mean, back.p) and there.interval.low == -back.interval.high


def test_bootstrap_of_one_seed_has_the_standard_error_of_a_proportion() -> None:
    correct = (np.arange(400) < 120)[None]
    interval = Bootstrap(0.95).mean(correct).interval
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * math.sqrt(0.3 * 0.7 / 400), rel=0.03)
    assert Bootstrap(0.95).means(np.stack([correct, ~correct]))[0].interval == interval


def test_pairing_and_seeds_matter() -> None:
    dice = np.random.default_rng(1)
    base = dice.random((3, 300)) < 0.5
    better = base | (dice.random((3, 300)) < 0.1)
    paired = Bootstrap(0.95).difference(better, base)
    shuffled = Bootstrap(0.95).difference(better, base[:, dice.permutation(300)])
    assert paired.interval.high - paired.interval.low < (shuffled.interval.high - shuffled.interval.low) / 2
    # The same questions right, but one seed failed altogether: that is not hidden.
    lucky = np.array([[1, 0] * 50] * 3)
    unlucky = lucky * [[1], [1], [0]]
    widths = [float(np.ptp(Bootstrap(0.95).mean(one).interval)) for one in (lucky, unlucky)]
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("seeds", [1, 4, 8])
def test_bootstrap_intervals_cover_about_as_often_as_they_say(seeds: int) -> None:
    """Questions and seeds of effects of their own; one seed leaves out the seeds' share, as the docstring says."""
    dice, hits, tries = np.random.default_rng(seeds), 0, 300
    bootstrap = Bootstrap(0.9, resamples=400)
    for _ in range(tries):
        chance = 0.6 + 0.25 * dice.uniform(-1, 1, (1, 120)) + 0.03 * dice.uniform(-1, 1, (seeds, 1))
        low, high = bootstrap.mean(dice.random((seeds, 120)) < chance).interval
        hits += low <= 0.6 <= high
    assert 0.85 <= hits / tries <= 0.99


def test_an_arm_without_seeds_is_set_against_every_seed() -> None:
    seeds, alone = np.array([[1, 1, 0, 1], [1, 0, 0, 1]]), np.array([[0, 1, 0, 1]])
    assert Bootstrap(0.9).difference(seeds, alone) == Bootstrap(0.9).difference(seeds, np.repeat(alone, 2, axis=0))


def test_bootstrap_refuses_what_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 3\)"):
        Bootstrap(0.95).difference(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"\(1, 3\) and \(1, 4\)"):
        Bootstrap(0.95).difference(np.zeros((1, 3)), np.zeros((1, 4)))
    for shape in ((3,), (0, 3), (2, 0)):
        with pytest.raises(ValueError, match="found shape"):
            Bootstrap(0.95).mean(np.zeros(shape))
    with pytest.raises(ValueError, match="confidence"):
        Bootstrap(1.0)


# -- power


@pytest.mark.parametrize(("n", "discordant", "power"), [(60, 0.4, 0.8), (300, 0.25, 0.8), (1000, 0.1, 0.9)])
def test_the_detectable_difference_is_found_as_often_as_stated(n: int, discordant: float, power: float) -> None:
    found = detectable_difference(n, discordant, power, 0.95)
    assert found is not None
    dice, tries = np.random.default_rng(n), 4000
    for difference, expected in ((found, power), (0.0, 0.025)):
        pairs = dice.binomial(n, discordant, tries)
        only_a = dice.binomial(pairs, (1 + difference / discordant) / 2)
        hits = [a > d - a and mcnemar_exact(a, d - a) < 0.05 for a, d in zip(only_a, pairs, strict=True)]
        share = sum(hits) / tries
        # Without a difference an exact test errs less often than its level.
        assert share == pytest.approx(expected, abs=0.03) if difference else share <= expected + 0.01


def test_detectable_differences_by_hand() -> None:
    # Six pairs that all differ: found only where all six lean one way, with chance q^6, q = (1 + difference) / 2.
    assert detectable_difference(6, 1.0, 0.8, 0.95) == pytest.approx(2 * 0.8 ** (1 / 6) - 1, abs=2e-6)
    assert detectable_difference(5, 1.0, 0.5, 0.95) is None, "5 pairs reach p = 0.0625 at best"
    small, large = detectable_difference(100, 0.3, 0.8, 0.95), detectable_difference(1000, 0.3, 0.8, 0.95)
    # The normal approximation: (1.96 + 0.84) * sqrt(0.3 / n), a little less than the exact test needs.
    assert small is not None and large is not None
    assert large == pytest.approx(2.8 * math.sqrt(0.3 / 1000), rel=0.04) and small > 3 * large


@pytest.mark.parametrize("values", [(0, 0.5, 0.8, 0.95), (10, 0, 0.8, 0.95), (10, 1.1, 0.8, 0.95), (10, 0.5, 1, 0.95)])
def test_detectable_difference_refuses_what_is_no_share(values: tuple[int, float, float, float]) -> None:
    with pytest.raises(ValueError, match="found"):
        detectable_difference(*values)
