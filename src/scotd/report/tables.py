"""Cells and answers -> the accuracy tables: every cell, and every arm over its seeds.

An answer without a gold label is in no rate, an unparsed one counts as wrong. Two cells are tested by McNemar's exact
test, two arms by the paired bootstrap over questions and seeds (`stats.py`), both on the questions that both answered.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scotd.report.data import Against, Answer, Arm, Cell, Comparison, Form, Predictions, Result, Row, SplitTable
from scotd.report.load import Run
from scotd.stats import Bootstrap, mcnemar_exact, needed_surplus, paired_counts, wilson
from scotd.types import Mark


def tables(runs: Sequence[Run], bootstrap: Bootstrap) -> tuple[SplitTable, ...]:
    """Make a table for each split, the runs one after the other in it. Splits of different tasks are different ones."""
    several = len({run.experiment.questions.task for run in runs}) > 1
    by_split: dict[str, list[tuple[Run, list[Cell]]]] = {}
    for run in runs:
        task = f"{run.experiment.questions.task} " if several else ""
        for split in dict.fromkeys(cell.split for cell in run.cells):
            here = [cell for cell in run.cells if cell.split == split]
            by_split.setdefault(f"{task}{split}", []).append((run, here))
    return tuple(_table(split, parts, bootstrap) for split, parts in by_split.items())


def _table(split: str, parts: Sequence[tuple[Run, list[Cell]]], bootstrap: Bootstrap) -> SplitTable:
    chances = [
        _chance({key for cell in here for key in run.predictions.get(cell, {})}, run.forms) for run, here in parts
    ]
    rows: list[Row] = []
    arms: list[Arm] = []
    for run, here in parts:
        mine = {cell: _row(run, cell, here, bootstrap.confidence) for cell in here}
        rows += mine.values()
        for cells in grouped(here):
            arms.append(_arm(run, [mine[cell] for cell in cells], here, bootstrap))
    return SplitTable(
        split=split, chance=chances[0] if len({*chances}) == 1 else None, rows=tuple(rows), arms=tuple(arms)
    )


def grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Group cells that differ in their seed alone."""
    found: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.arm, []).append(cell)
    return list(found.values())


def _row(run: Run, cell: Cell, here: Sequence[Cell], confidence: float) -> Row:
    answers = run.predictions.get(cell)
    baseline = run.experiment.baseline_of(cell.student)
    other = None if baseline is None else _decoded_alike(cell, {baseline}, here, run.predictions)
    return Row(
        cell=cell,
        result=None if answers is None else summarise(answers, confidence),
        comparison=comparison(cell, other[0], run.predictions, confidence) if answers is not None and other else None,
    )


def summarise(answers: Mapping[str, Answer], confidence: float) -> Result:
    """Count one cell. An answer without gold label is in no rate; an unparsed one counts as wrong (design: Prediction).

    `confidence` is that of the interval, in (0, 1).
    """
    rows = list(answers.values())
    labelled = [row for row in rows if row.gold is not None]
    correct = sum(row.mark is Mark.RIGHT for row in labelled)
    chains = [chain for row in rows for chain in row.chains]
    lengths = [chain.n_tokens for chain in chains if chain.n_tokens is not None]
    return Result(
        n=len(labelled),
        unlabelled=len(rows) - len(labelled),
        correct=correct,
        interval=wilson(correct, len(labelled), confidence) if labelled else None,
        unparsed=sum(row.answer is None for row in rows),
        reasons=dict(Counter(row.reason or "no reason given" for row in rows if row.answer is None).most_common()),
        ties=sum(row.tied for row in rows),
        chains=len(chains),
        chains_unparsed=sum(chain.answer is None for chain in chains),
        tokens=sum(lengths) / len(rows) if chains and len(lengths) == len(chains) else None,
    )


def _decoded_alike(cell: Cell, students: Iterable[str], here: Sequence[Cell], predictions: Predictions) -> list[Cell]:
    """The answered cells of some students that are decoded as this cell is, or else in the first way among them."""
    found = [other for other in here if other.student in students and other in predictions]
    ways = [other.decoding for other in found]
    way = cell.decoding if cell.decoding in ways else ways[0] if ways else None
    return [other for other in found if other.decoding == way]


def comparison(cell: Cell, other: Cell, predictions: Predictions, confidence: float) -> Comparison | None:
    """Test a cell against another, the baseline, on the questions of both; None where they have none in common."""
    a, b = predictions[cell], predictions[other]
    common = common_questions([a, b])
    if not common:
        return None
    right_a, right_b = ({key: side[key].mark is Mark.RIGHT for key in common} for side in (a, b))
    _, only_a, only_b, _ = paired_counts(right_a, right_b)
    return Comparison(
        student=other.student,
        decoding=other.decoding,
        pairs=len(common),
        only_this=only_a,
        only_baseline=only_b,
        p=mcnemar_exact(only_a, only_b),
        needed=needed_surplus(only_a + only_b, 1 - confidence),
    )


def common_questions(sides: Sequence[Mapping[str, Answer]]) -> list[str]:
    """Keys of the questions that all sides answered, with one gold label, in the first one's order."""
    first, *others = sides
    return [
        key
        for key, answer in first.items()
        if answer.gold is not None and all(key in other and other[key].gold == answer.gold for other in others)
    ]


def right(sides: Sequence[Mapping[str, Answer]], keys: Sequence[str]) -> NDArray[np.float64]:
    """1 where an answer is right and 0 where it is not, [sides, questions]."""
    return np.array([[side[key].mark is Mark.RIGHT for key in keys] for side in sides], np.float64)


def _arm(run: Run, rows: Sequence[Row], here: Sequence[Cell], bootstrap: Bootstrap) -> Arm:
    sides = [run.predictions[row.cell] for row in rows if row.cell in run.predictions]
    keys = common_questions(sides) if sides else []
    mean = interval = None
    if keys and len(sides) == 1:
        correct = int(right(sides, keys).sum())
        mean, interval = correct / len(keys), wilson(correct, len(keys), bootstrap.confidence)
    elif keys:
        mean, interval = bootstrap.mean(right(sides, keys))
    pairs = _baseline_pairs(run, [row.cell for row in rows if row.cell in run.predictions], here)
    found = [(run.predictions[a], run.predictions[b]) for a, b in pairs]
    against = None if not pairs else compare(found, pairs[0][1], bootstrap)
    return Arm(rows=tuple(rows), n=len(keys), mean=mean, interval=interval, against=against)


def _baseline_pairs(run: Run, cells: Sequence[Cell], here: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each cell of an arm with the baseline's at the same place and seed; a cell without a seed with each seed's."""
    found = [
        (cell, other)
        for cell in cells
        for other in _decoded_alike(cell, run.experiment.baselines_of(cell.student), here, run.predictions)
    ]
    return found if len({other.arm for _, other in found}) == 1 else []


def compare(
    pairs: Sequence[tuple[Mapping[str, Answer], Mapping[str, Answer]]], other: Cell, bootstrap: Bootstrap
) -> Against | None:
    """Set one arm against another, pair by pair of their seeds; None where they have no labelled question in common."""
    keys = common_questions([side for pair in pairs for side in pair])
    if not keys:
        return None
    a, b = (right([pair[side] for pair in pairs], keys) for side in (0, 1))
    return Against(
        other=other,
        seeds=len(pairs),
        pairs=len(keys),
        difference=bootstrap.difference(a, b),
    )


def _chance(answered: set[str], forms: Mapping[str, Form]) -> float | None:
    """Return the accuracy of a random guess where every answered question is known and has as many choices."""
    if not answered or not answered <= forms.keys():
        return None
    sizes = {forms[key].choices for key in answered}
    return 1 / sizes.pop() if len(sizes) == 1 else None
