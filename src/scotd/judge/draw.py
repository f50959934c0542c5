"""Pairs -> the items of a study: the paper's two samples, by task in proportion, from a seed.

Within a task, questions stand in the order of a seeded hash; each sample takes the first so many of its pool. So each
is a random sample, a larger study holds the smaller one, and a pair that is in both samples is judged once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scotd.judge.study import Item, Pair, Sample
from scotd.types import digest


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The items, and how many pairs each sample could draw from, by task."""

    items: tuple[Item, ...]
    pools: dict[str, dict[str, int]]


def draw(pairs: Iterable[Pair], samples: Sequence[Sample], n: int, *, seed: int) -> Drawn:
    """Draw `n` pairs for each sample, or all there are."""

    def rank(pair: Pair) -> str:
        return digest([seed, pair.question.key])

    ranked = sorted(pairs, key=rank)
    chosen: dict[str, list[Sample]] = {}
    pools: dict[str, dict[str, int]] = {}
    for sample in samples:
        by_task: dict[str, list[Pair]] = {}
        for pair in ranked:
            if sample is Sample.RANDOM or pair.both_right:
                by_task.setdefault(pair.question.task, []).append(pair)
        pools[sample] = {task: len(pool) for task, pool in sorted(by_task.items())}
        for task, size in shares(pools[sample], n).items():
            for pair in by_task[task][:size]:
                chosen.setdefault(pair.question.key, []).append(sample)
    items = [pair for pair in ranked if pair.question.key in chosen]
    return Drawn(
        items=tuple(
            Item(number=number, pair=pair, samples=tuple(chosen[pair.question.key]))
            for number, pair in enumerate(items, start=1)
        ),
        pools=pools,
    )


def shares(pools: Mapping[str, int], n: int) -> dict[str, int]:
    """Divide `n` over strata in proportion to their sizes, by largest remainders; never more than a stratum holds."""
    total = sum(pools.values())
    if n >= total:
        return dict(pools)
    exact = {task: n * size / total for task, size in pools.items()}
    given = {task: int(share) for task, share in exact.items()}
    for task in sorted(exact, key=lambda task: (given[task] - exact[task], task))[: n - sum(given.values())]:
        given[task] += 1
    return given
