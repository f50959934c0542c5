"""Consistency on contrast sets (paper 3.4; Gardner et al. 2020): a question and its minimal change, both right.

A student that has found a shortcut is right on the original and wrong on the change, or the other way round: each
accuracy alone can hide that, the share of pairs with both right cannot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scotd.report.data import Answer, Arm, Cell, Form, SplitTable
from scotd.report.load import Run
from scotd.report.tables import right
from scotd.stats import Bootstrap, Estimate, wilson


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One arm on `pairs` of a question and its minimal change: shares of the pairs, each the mean over the seeds.

    `original` and `changed` are the accuracies on either side, `consistent` is the share with both right.
    """

    cell: Cell
    seeds: int
    pairs: int
    original: float
    changed: float
    consistent: Estimate


class Halves(NamedTuple):
    """Who is right on changed questions, and on those that they are a change of."""

    changed: NDArray[np.float64]
    original: NDArray[np.float64]

    @property
    def both(self) -> NDArray[np.float64]:
        return self.changed * self.original


def contrasts(table: SplitTable, runs: dict[str, Run], bootstrap: Bootstrap) -> tuple[Contrast, ...]:
    """Return the arms of a split whose questions are changes of others that the same students answered alike."""
    found = (_contrast(arm, runs[arm.cell.run], bootstrap) for arm in table.arms)
    return tuple(one for one in found if one is not None)


def everywhere(run: Run, cell: Cell) -> dict[str, Answer]:
    """All that a cell's student answered in its decoding, on every split."""
    found: dict[str, Answer] = {}
    for other, answers in run.predictions.items():
        if (other.student, other.decoding) == (cell.student, cell.decoding):
            found |= answers
    return found


def changes(
    keys: Iterable[str], forms: Mapping[str, Form], sides: Sequence[Mapping[str, Answer]]
) -> list[tuple[str, str]]:
    """Those of some questions that are a change of another, with that one, where every side answered both and each
    has one gold label."""
    pairs = []
    for key in keys:
        form = forms.get(key)
        if form is None or form.original is None:
            continue
        golds = [{answers[one].gold if one in answers else None for answers in sides} for one in (key, form.original)]
        if all(len(found) == 1 and None not in found for found in golds):
            pairs.append((key, form.original))
    return pairs


def right_on(sides: Sequence[Mapping[str, Answer]], pairs: Sequence[tuple[str, str]]) -> Halves:
    """1 where an answer is right and 0 where not, on the changed and on the original ones: [sides, pairs] each."""
    return Halves(right(sides, [changed for changed, _ in pairs]), right(sides, [original for _, original in pairs]))


def _contrast(arm: Arm, run: Run, bootstrap: Bootstrap) -> Contrast | None:
    cells = [row.cell for row in arm.rows if row.cell in run.predictions]
    sides = [everywhere(run, cell) for cell in cells]
    pairs = changes(run.predictions[cells[0]] if cells else (), run.forms, sides)
    if not pairs:
        return None
    halves = right_on(sides, pairs)
    both = halves.both
    if len(sides) == 1:
        correct = int(both.sum())
        consistent = Estimate(correct / len(pairs), wilson(correct, len(pairs), bootstrap.confidence))
    else:
        consistent = bootstrap.mean(both)
    return Contrast(
        cell=cells[0],
        seeds=len(sides),
        pairs=len(pairs),
        original=float(np.mean(halves.original)),
        changed=float(np.mean(halves.changed)),
        consistent=consistent,
    )
