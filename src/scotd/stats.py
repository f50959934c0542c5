"""Intervals and paired tests for accuracies.

    >>> wilson(81, 263, 0.95)
    Interval(low=0.2552..., high=0.3662...)
    >>> both, only_a, only_b, neither = paired_counts(correct_of_a, correct_of_b)
    >>> mcnemar_exact(only_a, only_b)
    >>> Bootstrap(0.95).difference(correct_of_a, correct_of_b)  # [seeds, questions] each
    Difference(mean=0.041, interval=Interval(low=0.006, high=0.077), p=0.021)

Two students that answer the same questions are compared question by question (McNemar): the questions that both get
right or both get wrong say nothing about which is better, and two overlapping intervals are not a test. Arms of several
seeds are compared by a paired bootstrap over questions and seeds.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
_AT_ONCE = 1_000  # resamples in memory as floats


class Interval(NamedTuple):
    """Two bounds, low <= high: of a proportion within 0 and 1, of a difference of two within -1 and
    1, of a difference of differences within -2 and 2."""

    low: float
    high: float


class Estimate(NamedTuple):
    """The mean accuracy of an arm with its bootstrap interval."""

    mean: float
    interval: Interval


class Difference(NamedTuple):
    """The mean accuracy of one arm less that of another, its bootstrap interval, and a two-sided p of no difference."""

    mean: float
    interval: Interval
    p: float


class Bootstrap:
    """Paired bootstrap of mean accuracies over questions and seeds: percentile intervals and two-sided p.

    A resample draws as many questions and as many seeds, each with replacement and independently of each other; every
    arm of one size sees the same draws. With one seed only questions are drawn. The p of a difference is twice the
    smaller share of the resamples on one side of 0, (count + 1) / (resamples + 1): with 10,000 resamples never below
    0.0002. The same input gives the same numbers.

    Source: B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 (percentile intervals)
    and 15 to 16 (achieved significance levels); both factors at once: A. B. Owen, "The pigeonhole bootstrap", Annals of
    Applied Statistics 1 (2007).

    Limits: the seeds are a sample too, and a resample of S seeds shows on average (S - 1) / S of the variance between
    them: with 3 seeds a third is missing, with 2 a half, so intervals are too narrow where seeds matter more than
    questions, and with one seed nothing of it is shown at all. Arms that are always right or always wrong get an
    interval of no width.
    """

    def __init__(self, confidence: float, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"the confidence is between 0 and 1, found {confidence}")
        self.confidence = confidence
        self.resamples = resamples
        self._seed = seed
        self._drawn: NDArray[np.uint8] = np.empty((0, 0), np.uint8)  # for the last number of questions

    def means(self, correct: ArrayLike) -> list[Estimate]:
        """Estimate the mean accuracy of several arms on the same questions.

        `correct` is [arms, seeds, questions]: 1 where the answer is right, 0 where it is wrong, or the probability of
        being right. Raises ValueError for another shape, or without seeds or questions.
        """
        values = self._checked(correct, 3)
        return [
            Estimate(float(mean), self._interval(replicates))
            for mean, replicates in zip(values.mean(axis=(1, 2)), self._replicates(values), strict=True)
        ]

    def mean(self, correct: ArrayLike) -> Estimate:
        """Estimate the mean accuracy of one arm; `correct` is [seeds, questions] as in `means`."""
        return self.means(self._checked(correct, 2)[None])[0]

    def difference(self, a: ArrayLike, b: ArrayLike) -> Difference:
        """Estimate mean accuracy of `a` less that of `b`, [seeds, questions] each, in the same order of both.

        An arm of one row (a student that is not trained has no seed) is set against every seed of the other. Raises
        ValueError where the questions, or two numbers of seeds above 1, differ.
        """
        one, other = self._checked(a, 2), self._checked(b, 2)
        if one.shape[1] != other.shape[1] or (len(one) != len(other) and 1 not in (len(one), len(other))):
            raise ValueError(f"arms are paired by seed and question, found shapes {one.shape} and {other.shape}")
        values = one - other
        (replicates,) = self._replicates(values[None])
        tail = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
        p = min(1.0, 2 * (tail + 1) / (self.resamples + 1))
        return Difference(float(values.mean()), self._interval(replicates), p)

    @staticmethod
    def _checked(correct: ArrayLike, dimensions: int) -> NDArray[np.float64]:
        values = np.asarray(correct, np.float64)
        if values.ndim != dimensions or 0 in values.shape:
            raise ValueError(f"expected {dimensions} dimensions, none of them empty, found shape {values.shape}")
        return values

    def _interval(self, replicates: NDArray[np.float64]) -> Interval:
        low, high = np.quantile(replicates, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Interval(float(low), float(high))

    def _replicates(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[arms, seeds, questions] -> the arms' means in every resample, [arms, resamples]."""
        arms, seeds, questions = values.shape
        drawn = self._questions(questions)
        # In float32 sums of zeros and ones stay exact, below 2^24.
        flat = values.reshape(-1, questions).astype(np.float32)
        sums = np.concatenate(
            [
                flat @ drawn[start : start + _AT_ONCE].astype(np.float32).T
                for start in range(0, self.resamples, _AT_ONCE)
            ],
            axis=1,
        ).reshape(arms, seeds, self.resamples)
        weights = np.ones((self.resamples, 1))
        if seeds > 1:
            weights = _counts(np.random.default_rng([self._seed, 1]), self.resamples, seeds)
        means: NDArray[np.float64] = np.einsum("asr,rs->ar", sums.astype(np.float64), weights) / (seeds * questions)
        return means

    def _questions(self, n: int) -> NDArray[np.uint8]:
        """How often each question is in each resample, [resamples, n]: counts near 1, that a byte holds."""
        if self._drawn.shape[1] != n:
            dice = np.random.default_rng([self._seed, 0])
            sizes = [min(_AT_ONCE, self.resamples - start) for start in range(0, self.resamples, _AT_ONCE)]
            self._drawn = np.concatenate([_counts(dice, size, n).astype(np.uint8) for size in sizes])
        return self._drawn


def _counts(dice: np.random.Generator, rows: int, n: int) -> NDArray[Any]:
    """In each of `rows` resamples of n things, how often each was drawn: [rows, n]."""
    drawn = dice.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)


def wilson(successes: int, n: int, confidence: float) -> Interval:
    """Score interval of a proportion, without continuity correction.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927);
    method 3 of R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17
    (1998), whose table the tests reproduce. Raises ValueError unless 0 <= successes <= n, n > 0, 0 < confidence < 1.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"an interval needs 0 <= successes <= n and n > 0, found {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is between 0 and 1, found {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = successes + z * z / 2
    spread = z * math.sqrt(successes * (n - successes) / n + z * z / 4)
    # At the edges the bound is exact, and rounding must not move it.
    low = 0.0 if successes == 0 else (centre - spread) / (n + z * z)
    high = 1.0 if successes == n else (centre + spread) / (n + z * z)
    return Interval(low, high)


def paired_counts(a: Mapping[str, bool], b: Mapping[str, bool]) -> tuple[int, int, int, int]:
    """Count questions as (both right, only a right, only b right, neither), from correctness by question key.

    Raises ValueError naming a question that only one side answered: a paired test over different questions is none.
    """
    unpaired = sorted(a.keys() ^ b.keys())
    if unpaired:
        raise ValueError(
            f"{len(unpaired)} question(s) were answered by one side only (first: {unpaired[0]}); "
            "compare predictions on the same questions"
        )
    both = sum(a[key] and b[key] for key in a)
    only_a = sum(a[key] and not b[key] for key in a)
    only_b = sum(b[key] and not a[key] for key in a)
    return both, only_a, only_b, len(a) - both - only_a - only_b


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact McNemar test: Binomial(only_a + only_b, 1/2), conditional on the discordant pairs.

    Source: Q. McNemar, Psychometrika 12 (1947); exact form: A. Agresti, "Categorical Data Analysis", section on
    comparing dependent proportions. Without discordant pairs nothing speaks against equality: p = 1. Raises ValueError
    for negative counts.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError(f"counts of questions cannot be negative, found {only_a} and {only_b}")
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def needed_surplus(discordant: int, alpha: float) -> int | None:
    """Return the smallest surplus, among `discordant` differing pairs, whose exact McNemar p is below `alpha`.

    None where even all of them on one side would not do (fewer than 6 pairs at 0.05).
    """
    least = int(_least_lead(np.array([discordant]), alpha)[0])
    return None if least > discordant else 2 * least - discordant


def detectable_difference(n: int, discordant: float, power: float, confidence: float) -> float | None:
    """Return the smallest true difference in accuracy that an exact McNemar test finds with the stated power.

    `n` questions are answered by both, and on a share `discordant` of them, in expectation, only one is right. Found
    means p < 1 - confidence in favour of the better one. The power is exact, over the number of discordant pairs,
    Binomial(n, discordant), and over who is right on each, Binomial(pairs, (1 + difference / discordant) / 2); it rises
    with the difference, which is found by bisection, to 1e-6. None where even the largest difference, `discordant`
    itself, is found less often.

    Source: S. W. Duffy, "Asymptotic and exact power for the McNemar test and its analogue with R controls per case",
    Biometrics 40 (1984). Raises ValueError unless n > 0, 0 < discordant <= 1, and the others lie between 0 and 1.
    """
    if n <= 0 or not 0 < discordant <= 1 or not 0 < power < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"needs n > 0, a share of discordant pairs above 0, power and confidence between 0 and 1, found {n}, "
            f"{discordant}, {power}, {confidence}"
        )
    from scipy.stats import binom

    pairs = np.arange(n + 1)
    weights = binom.pmf(pairs, n, discordant)
    pairs, weights = pairs[weights > 1e-12], weights[weights > 1e-12]
    least = _least_lead(pairs, 1 - confidence)

    def found(difference: float) -> float:
        return float(weights @ binom.sf(least - 1, pairs, (1 + difference / discordant) / 2))

    low, high = 0.0, discordant
    if found(high) < power:
        return None
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= power else (middle, high)
    return high


def _least_lead(pairs: NDArray[Any], alpha: float) -> NDArray[Any]:
    """The fewest of `pairs` discordant pairs on one side whose exact p is below alpha; more than all where none is."""
    from scipy.stats import binom

    least = binom.isf(alpha / 2, pairs, 0.5) + 1
    return np.asarray(least + (2 * binom.sf(least - 1, pairs, 0.5) >= alpha))
