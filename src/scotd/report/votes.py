"""Accuracy with fewer votes than were sampled, from the same chains (paper, table 3; Wang et al. 2022, figure 2).

For each k the expected accuracy over all subsets of k of a question's V chains, counted exactly (`vote.win_rates`), and
its bootstrap interval over questions and seeds. At k = V it is the vote itself.
"""

from dataclasses import dataclass

import numpy as np

from scotd.report.data import Arm, Cell, Predictions, SplitTable
from scotd.report.tables import common_questions
from scotd.stats import Bootstrap, Estimate
from scotd.vote import win_rates


@dataclass(frozen=True, kw_only=True)
class VoteCurve:
    """Accuracy of one arm with votes of k of its sampled chains, k = 1 up to all."""

    cell: Cell
    seeds: int
    n: int
    accuracies: tuple[Estimate, ...]


def vote_curves(table: SplitTable, predictions: Predictions, bootstrap: Bootstrap) -> tuple[VoteCurve, ...]:
    """Return a curve for every arm of a split that was decoded by vote and has labelled answers."""
    curves = (_curve(arm, predictions, bootstrap) for arm in table.arms if arm.cell.votes > 1)
    return tuple(curve for curve in curves if curve is not None)


def _curve(arm: Arm, predictions: Predictions, bootstrap: Bootstrap) -> VoteCurve | None:
    cells = [row.cell for row in arm.rows if row.cell in predictions]
    sides = [predictions[cell] for cell in cells]
    keys = common_questions(sides) if sides else []
    # Rows of a damaged file may hold fewer chains than the others: then the curve ends there for all.
    votes = min((len(side[key].chains) for side in sides for key in keys), default=0)
    if votes < 2:
        return None
    rates = np.array(
        [
            [win_rates((chain.answer for chain in side[key].chains), str(side[key].gold), key)[:votes] for key in keys]
            for side in sides
        ]
    )  # [seeds, questions, votes]
    accuracies = bootstrap.means(np.moveaxis(rates, 2, 0))
    return VoteCurve(cell=cells[0], seeds=len(sides), n=len(keys), accuracies=tuple(accuracies))


def shown_votes(most: int) -> tuple[int, ...]:
    """Numbers of votes that a table has a column for: the paper's 1, 5, 10, 20, 30, with 2 and 3, and the most."""
    return (*(k for k in (1, 2, 3, 5, 10, 20, 30) if k < most), most)
