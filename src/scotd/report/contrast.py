"""Consistency on contrast sets (paper 3.4; Gardner et al. 2020): a question and its minimal change, both right.

A student that has found a shortcut is right on the original and wrong on the change, or the other way round: each
accuracy alone can hide that, the share of pairs with both right cannot.
"""

from dataclasses import dataclass

import numpy as np

from scotd.report.data import Answer, Arm, Cell, SplitTable
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


def contrasts(table: SplitTable, runs: dict[str, Run], bootstrap: Bootstrap) -> tuple[Contrast, ...]:
    """Return the arms of a split whose questions are changes of others that the same students answered alike."""
    found = (_contrast(arm, runs[arm.cell.run], bootstrap) for arm in table.arms)
    return tuple(one for one in found if one is not None)


def _contrast(arm: Arm, run: Run, bootstrap: Bootstrap) -> Contrast | None:
    sides = []
    for row in arm.rows:
        if row.cell in run.predictions:
            everything: dict[str, Answer] = {}
            for cell, answers in run.predictions.items():
                if (cell.student, cell.decoding) == (row.cell.student, row.cell.decoding):
                    everything |= answers
            sides.append((run.predictions[row.cell], everything))
    pairs = []
    for key in sides[0][0] if sides else ():
        form = run.forms.get(key)
        if form is None or form.original is None:
            continue
        original = form.original
        needed = [(answers.get(key), everything.get(original)) for answers, everything in sides]
        if all(a is not None and a.gold is not None and b is not None and b.gold is not None for a, b in needed):
            pairs.append((key, original))
    if not pairs:
        return None
    changed = right([answers for answers, _ in sides], [key for key, _ in pairs])
    original_right = right([everything for _, everything in sides], [key for _, key in pairs])
    both = changed * original_right
    if len(sides) == 1:
        correct = int(both.sum())
        consistent = Estimate(correct / len(pairs), wilson(correct, len(pairs), bootstrap.confidence))
    else:
        consistent = bootstrap.mean(both)
    return Contrast(
        cell=arm.cell,
        seeds=len(sides),
        pairs=len(pairs),
        original=float(np.mean(original_right)),
        changed=float(np.mean(changed)),
        consistent=consistent,
    )
