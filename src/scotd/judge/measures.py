"""Numbers of a pairwise comparison: how many items are needed, and how far raters agree.

    >>> needed_items(0.65, power=0.8, confidence=0.95, ties=0.0)
    97
    >>> krippendorff_alpha([["a", "a"], ["b", "b"], ["a", "b"]])
    0.4...

The test of a win rate is the exact binomial one, as in the paper: of the decided items each side wins half if neither
is better. It is `stats.mcnemar_exact` of the two counts of wins.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import permutations

import numpy as np

from scotd.errors import ConfigError
from scotd.stats import Interval, needed_surplus

MOST = 20_000  # items beyond which nobody judges


def needed_items(win_rate: float, *, power: float, confidence: float, ties: float) -> int:
    """The smallest number of items from which on the exact test finds a true win rate of `win_rate` with that power.

    `win_rate` is among decided items; `ties` is the share expected to be undecided, and leaves the test. Found means
    two-sided p < 1 - confidence in favour of the better side. Power is exact, and saw-toothed in the number of items:
    it stays above `power` from the returned number on. Raises ConfigError where a value is out of range or more than
    20,000 items would be needed.
    """
    from scipy.stats import binom

    for name, value, low, high in (
        ("the win rate to detect", win_rate, 0.5, 1.0),
        ("the power", power, 0.0, 1.0),
        ("the confidence", confidence, 0.0, 1.0),
    ):
        if not low < value <= high or (value == high and name != "the win rate to detect"):
            raise ConfigError(f"{name} lies between {low:g} and {high:g}, found {value:g}.")
    if not 0 <= ties < 1:
        raise ConfigError(f"the share of ties lies between 0 and 1, found {ties:g}.")
    guess = 16 / ((1 - ties) * (win_rate - 0.5) ** 2)  # more than ten times what the normal approximation needs
    most = int(min(2 * MOST, guess + 200))
    decided = np.arange(most + 1)
    least = np.asarray(binom.isf((1 - confidence) / 2, decided, 0.5)) + 1
    least = least + (2 * binom.sf(least - 1, decided, 0.5) >= 1 - confidence)
    found = np.asarray(binom.sf(least - 1, decided, win_rate))  # by the number of decided items
    low, high = 1, most
    if ties:  # the mean over how many items are decided; smooth enough for a bisection
        while low < high:
            middle = (low + high) // 2
            if float(binom.pmf(decided[: middle + 1], middle, 1 - ties) @ found[: middle + 1]) >= power:
                high = middle
            else:
                low = middle + 1
        items = low
    else:
        items = int(np.flatnonzero(found < power)[-1]) + 1
    if items >= min(most, MOST):
        raise ConfigError(
            f"a win rate of {win_rate:g} would need more than {MOST:,} items: give a larger difference to detect."
        )
    return items


def exact_interval(successes: int, n: int, confidence: float) -> Interval:
    """Clopper-Pearson interval of a proportion: it holds one half exactly where the exact test does not reject it.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934). Raises ValueError unless 0 <= successes <= n, n > 0.
    """
    from scipy.stats import beta

    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"an interval needs 0 <= successes <= n and n > 0, found {successes} of {n}")
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(beta.isf(tail, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(low, high)


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha for nominal values: 1 - observed / expected disagreement; any number of values a unit.

    Units with fewer than two values say nothing and are left out. None where nothing can be compared, or where only
    one value was ever given: agreement then cannot be told from having no choice.

    Source: K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C; its example is a test.
    """
    totals: Counter[Hashable] = Counter()
    disagreement = 0.0
    for unit in units:
        if len(unit) < 2:
            continue
        totals.update(unit)
        disagreement += sum(one != other for one, other in permutations(unit, 2)) / (len(unit) - 1)
    n = totals.total()
    expected = n * n - sum(count * count for count in totals.values())
    return None if expected == 0 else 1 - (n - 1) * disagreement / expected


def detectable_surplus(decided: int, confidence: float) -> int | None:
    """How many more wins than losses among `decided` items the test needs to call a side better; None: no number."""
    return needed_surplus(decided, 1 - confidence) if decided else None
