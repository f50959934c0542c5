"""Which of a question's chains stay within a budget (paper 4, "What matters in the corpus").

    kept = FILTERS["shortest"].choose(candidates, 5, draw)      # indices of what is kept

A filter is a small pure function of one question's chains: `Candidate`s in, indices out. It comes after a selection
(`select.py`), so that in the paper's set-up all candidates are right. A filter of your own is a function of the same
form in a Python file, named in the YAML:

    def first(candidates, budget, draw):
        return range(min(budget, len(candidates)))

With `need: gain` each candidate has `candidate.measures["gain"]`, a tuple of one number: by how many nats the rationale
brings the untrained student nearer to the answer. `perplexity` is its mean loss on the chain, in nats a token, and
`vector` the sentence vector, of length 1.

Every filter of a study gets the same budget, an average over the questions; what a question lacks is not made up for
elsewhere, and the counts say how many chains each filter kept. `open-ended` alone gives questions budgets of their
own: those of which something was selected are sorted by the number of unique bigrams in all their chains, right or
wrong, and cut into quintiles, which get b - d2, b - d1, b, b + d1, b + d2 chains with d1 = round(2b / 5) and d2 =
round(4b / 5): 1, 3, 5, 7, 9 at the paper's budget of 5. Within its budget each question draws at random.
"""

import functools
import importlib.util
import inspect
import operator
import random
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from scotd.errors import ConfigError, DataError, did_you_mean
from scotd.types import Need, digest

QUINTILES = 5


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A chain that a filter may keep. `mean_logprob` is the teacher's own, in nats a token; None where it gave none.

    `measures` holds what the filter needs, numbers as tuples of one.
    """

    chain_id: str
    rationale: str
    answer: str
    n_tokens: int | None = None
    mean_logprob: float | None = None
    measures: Mapping[Need, tuple[float, ...]] = field(default_factory=dict)


Choose = Callable[[Sequence[Candidate], int, random.Random], Iterable[int]]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A way of choosing. `spread` makes of the rationales of all of a question's chains the number by which budgets are
    spread over quintiles; a `blind` filter looks at the number of candidates alone, so that no text need be read."""

    choose: Choose
    blind: bool = False
    need: Need | None = None
    spread: Callable[[Iterable[str]], float] | None = None


def at_random(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """Uniformly, without replacement: the null hypothesis."""
    return draw.sample(range(len(candidates)), min(budget, len(candidates)))


def diverse(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """One drawn from each of `budget` clusters: average linkage on the cosine distance of the rationales' vectors.

    Equal rationales never part, so that there may be fewer clusters; the rest is then drawn from all that remain.
    """
    if len(candidates) <= budget:
        return list(range(len(candidates)))
    from scipy.cluster.hierarchy import fcluster, linkage

    vectors = [candidate.measures[Need.VECTOR] for candidate in candidates]
    clusters = fcluster(linkage(vectors, method="average", metric="cosine"), budget, criterion="maxclust")
    members: dict[int, list[int]] = {}
    for index, cluster in enumerate(clusters):
        members.setdefault(int(cluster), []).append(index)
    kept = [draw.choice(found) for found in members.values()]
    rest = [index for index in range(len(candidates)) if index not in kept]
    return kept + draw.sample(rest, budget - len(kept))


def likely(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """The highest log-probability a token under the teacher that wrote them."""
    missing = sum(candidate.mean_logprob is None for candidate in candidates)
    if missing:
        raise DataError(
            f"filter 'teacher-likelihood': {missing} of a question's {len(candidates)} chains came without "
            f"log-probabilities (the first: {next(one.chain_id for one in candidates if one.mean_logprob is None)}): "
            f"sample with a teacher that reports them, or take another filter."
        )
    return _first(candidates, budget, lambda one: -(one.mean_logprob or 0.0))


def shortest(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """The shortest rationales, in characters."""
    return _first(candidates, budget, lambda one: len(one.rationale))


def longest(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """The longest rationales, in characters."""
    return _first(candidates, budget, lambda one: -len(one.rationale))


def familiar(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """What the student, before its training, finds least surprising."""
    return _first(candidates, budget, lambda one: one.measures[Need.PERPLEXITY][0])


def helpful(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
    """What brings the student, before its training, nearest to the answer."""
    return _first(candidates, budget, lambda one: -one.measures[Need.GAIN][0])


def _first(candidates: Sequence[Candidate], budget: int, rank: Callable[[Candidate], float]) -> list[int]:
    """The first by a rank; equals in the chains' order."""
    return sorted(range(len(candidates)), key=lambda index: rank(candidates[index]))[:budget]


def unique_bigrams(rationales: Iterable[str]) -> float:
    """Number of different pairs of neighbouring words in all rationales, without regard to case."""
    return float(len({pair for one in rationales for pair in pairwise(one.lower().split())}))


FILTERS: Mapping[str, Filter] = {
    "random": Filter(choose=at_random, blind=True),
    "diversity": Filter(choose=diverse, need=Need.VECTOR),
    "teacher-likelihood": Filter(choose=likely),
    "open-ended": Filter(choose=at_random, spread=unique_bigrams),
    "shortest": Filter(choose=shortest),
    "longest": Filter(choose=longest),
    "student-perplexity": Filter(choose=familiar, need=Need.PERPLEXITY),
    "student-gain": Filter(choose=helpful, need=Need.GAIN),
}


def check(name: str, file: Path | None) -> None:
    """What can be told of a filter without running a user's file. Raises ConfigError where there is none."""
    if file is None and name not in FILTERS:
        raise ConfigError(f"filter '{name}' is not known.{did_you_mean(name, FILTERS)} Your own: give its `file` too.")
    if file is not None and not file.is_file():
        raise ConfigError(f"filter: {file}: no such file.")


def find(name: str, file: Path | None, need: Need | None = None) -> Filter:
    """A filter by name, or a function of the user's own file and its need. Raises ConfigError where there is none."""
    check(name, file)
    return FILTERS[name] if file is None else Filter(choose=_own(name, file), need=need)


def spread_budgets(spread: Mapping[str, float], budget: int) -> dict[str, int]:
    """Budgets by question key: more for the quintiles of questions whose number is higher. Equals go by key."""
    near, far = round(2 * budget / 5), round(4 * budget / 5)
    steps = (budget - far, budget - near, budget, budget + near, budget + far)
    ranked = sorted(spread, key=lambda key: (spread[key], digest(key)))
    return {key: steps[place * QUINTILES // len(ranked)] for place, key in enumerate(ranked)}


def keep(chosen: Filter, key: str, candidates: Sequence[Candidate], budget: int, seed: int) -> set[str]:
    """Ids of the candidates of one question that a filter keeps: at most `budget`, the same whatever is asked beside.

    Raises ConfigError where a filter of the user's own gives something else than that.
    """
    if not candidates:
        return set()
    indices = list(chosen.choose(candidates, budget, random.Random(digest([seed, key]))))
    try:
        wanted = {operator.index(index) for index in indices}  # NumPy's whole numbers too
    except TypeError:
        wanted = set()
    if not wanted <= set(range(len(candidates))) or len(wanted) != len(indices) or len(indices) > budget:
        raise ConfigError(
            f"filter '{getattr(chosen.choose, '__name__', 'filter')}' returned {indices} for {len(candidates)} "
            f"candidates and a budget of {budget}: return different indices of them, no more than the budget."
        )
    return {candidates[index].chain_id for index in wanted}


def _own(name: str, file: Path) -> Choose:
    """A function of a Python file, which runs as part of the experiment that names it."""
    spec = importlib.util.spec_from_file_location(f"scotd_filter_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"filter: {file}: not a Python file: its name ends in .py.")
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"filter: {file}: cannot be imported: {type(error).__name__}: {error}.") from error
    found = getattr(module, name, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise ConfigError(f"filter: {file} has no function '{name}'.{did_you_mean(name, functions)}")
    if len(inspect.signature(found).parameters) != 3:
        raise ConfigError(f"filter: {file}: '{name}' must take (candidates, budget, draw).")

    @functools.wraps(found)
    def choose(candidates: Sequence[Candidate], budget: int, draw: random.Random) -> list[int]:
        try:
            return list(found(candidates, budget, draw))
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
            where = f"{file}, line {lines[-1]}" if lines else str(file)
            raise ConfigError(f"filter: {where}: '{name}' failed: {type(error).__name__}: {error}.") from error

    return choose
