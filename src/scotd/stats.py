"""Intervals and paired tests for accuracies.

    >>> wilson(81, 263, 0.95)
    Interval(low=0.2552..., high=0.3662...)
    >>> both, only_a, only_b, neither = paired_counts(correct_of_a, correct_of_b)
    >>> mcnemar_exact(only_a, only_b)

Two students that answer the same questions are compared question by question (McNemar): the questions that both get
right or both get wrong say nothing about which is better, and two overlapping intervals are not a test.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """Two bounds of a proportion, 0 <= low <= high <= 1."""

    low: float
    high: float


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
