"""In which order a rater sees the items, and which source stands first: drawn from the study's seed and the rater.

The same rater has the same list in every process, so nothing of it is stored. Repeats stand in the second half, their
first showings in the first, so that a rater has others in between.
"""

from collections.abc import Sequence

from scotd.judge.study import Presentation, Side
from scotd.types import digest


def presentations(items: Sequence[int], *, seed: int, rater: str, repeats: float) -> tuple[Presentation, ...]:
    """The list of one rater: every item once, and a share `repeats` of them, rounded, once more."""

    def rank(item: int, what: str) -> str:
        return digest([seed, rater, item, what])

    def shown(item: int, repeat: bool) -> Presentation:
        drawn = int(rank(item, "second side" if repeat else "side")[:8], 16) % 2
        first: Side = "a" if drawn else "b"
        return Presentation(item=item, repeat=repeat, first=first)

    order = sorted(items, key=lambda item: rank(item, "place"))
    half = (len(order) + 1) // 2
    wanted = min(round(repeats * len(order)), half if len(order) > 1 else 0)
    again = [shown(item, True) for item in sorted(order[:half], key=lambda item: rank(item, "repeat"))[:wanted]]
    second = [*(shown(item, False) for item in order[half:]), *again]
    second.sort(key=lambda one: rank(one.item, "place of the repeat" if one.repeat else "place"))
    return (*(shown(item, False) for item in order[:half]), *second)
