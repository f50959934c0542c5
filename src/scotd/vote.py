"""Self-consistency: the answer that most chains of a question give (paper 2, "Decoding"; Wang et al. 2022, 2203.11171).

The tie rule is stated and favours nobody: among the labels with the most votes, the one whose digest together with the
question's key is smallest. So a vote ignores the order of the chains, is the same in every process, and over many
questions no label and no position wins ties more often than another. Unparsed chains (None) never vote.

    >>> vote(["B", None, "A", "B"], "csqa/17").answer
    'B'
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

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
    winner = min(first, key=lambda label: digest([question_key, label]))
    return Vote(answer=winner, tally=tally, tied=len(first) > 1)
