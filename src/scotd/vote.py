"""Self-consistency: the answer that most chains of a question give (paper 2, "Decoding"; Wang et al. 2022, 2203.11171).

The tie rule is stated and favours nobody: among the labels with the most votes, the one whose digest together with the
question's key is smallest. So a vote ignores the order of the chains, is the same in every process, and over many
questions no label and no position wins ties more often than another. Unparsed chains (None) never vote.

    >>> vote(["B", None, "A", "B"], "csqa/17").answer
    'B'
    >>> win_rates(["B", None, "A", "B"], "B", "csqa/17")  # with 1, 2, 3 and 4 of these chains
    (0.5, 0.833..., 1.0, 1.0)
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from scotd.types import digest


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Outcome of a vote. `answer` is None where nobody voted; `tally` is sorted, most votes first, then by label."""

    answer: str | None
    tally: dict[str, int]
    tied: bool


def vote(answers: Iterable[str | None], question_key: str) -> Vote:
    """Count the answers to one question and return the winner, the tally, and whether the tie rule had to decide."""
    counts = Counter(answer for answer in answers if answer is not None)
    tally = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    if not tally:
        return Vote(answer=None, tally={}, tied=False)
    most = max(tally.values())
    first = [label for label, votes in tally.items() if votes == most]
    winner = min(first, key=lambda label: _rank(question_key, label))
    return Vote(answer=winner, tally=tally, tied=len(first) > 1)


def win_rates(answers: Iterable[str | None], label: str, question_key: str) -> tuple[float, ...]:
    """Of all subsets of k chains, the share whose vote is `label`, for k = 1 up to all of them.

    This is what voting with fewer chains would have given, in expectation, without decoding again (the curves of Wang
    et al. 2022, figure 2, and of the paper's table 3, which average over drawn subsets). It is exact: the subsets are
    counted, by the votes that `label` and every other answer have in them, not drawn. A subset that is all unparsed
    has no vote and is none of `label`.
    """
    given = Counter(answers)
    silent, own = given.pop(None, 0), given.pop(label, 0)
    before: list[int] = []
    after: list[int] = []
    for other, votes in given.items():
        wins_ties = _rank(question_key, str(other)) < _rank(question_key, label)
        (before if wins_ties else after).append(votes)
    return _win_rates(own, tuple(sorted(before)), tuple(sorted(after)), silent)


@lru_cache(maxsize=4096)  # over few labels many questions have the same counts
def _win_rates(own: int, before: tuple[int, ...], after: tuple[int, ...], silent: int) -> tuple[float, ...]:
    """`before` are the votes of the answers that win a tie against this one, `after` of those that lose it."""
    total = own + sum(before) + sum(after) + silent
    subsets = np.zeros(total + 1)  # by size, those that this answer wins
    for votes in range(1, own + 1):
        ways = _choices(silent, silent)
        for others, most in ((before, votes - 1), (after, votes)):
            for other in others:
                ways = np.convolve(ways, _choices(other, most))
        subsets[votes : votes + len(ways)] += comb(own, votes) * ways
    return tuple(float(subsets[size] / comb(total, size)) for size in range(1, total + 1))


def _choices(votes: int, most: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """In how many ways 0, 1, ... and at most `most` of so many votes can be chosen."""
    return np.array([comb(votes, chosen) for chosen in range(min(votes, most) + 1)], np.float64)


def _rank(question_key: str, label: str) -> str:
    """Among tied labels the smallest wins."""
    return digest([question_key, label])
