"""Several runs beside each other: arms of one name compared, and in what the runs differ in set-up.

Arms are compared on the questions that both answered and no others: one key, one gold label, and, where both corpora
hold it, one text. What cannot be compared is listed with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scotd.report.data import Against, Arm, Cell, SplitTable
from scotd.report.load import Run
from scotd.report.tables import compare
from scotd.report.words import arm_name
from scotd.stats import Bootstrap

OWN = {"name", "run_folder", "corpus"}  # settings that every run has for itself


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that differs between runs, with its value in each; None where a run has none of that name."""

    key: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class BetweenRuns:
    """An arm of one run and the arm of the same name in another; without a result `why` says why not."""

    cell: Cell
    other: Cell
    against: Against | None
    why: str


def between(table: SplitTable, runs: dict[str, Run], bootstrap: Bootstrap) -> tuple[BetweenRuns, ...]:
    """Compare each arm of a split with the first arm of its row, place and decoding in an earlier run."""
    first: dict[tuple[object, ...], Arm] = {}
    found = []
    for arm in table.arms:
        name = arm.cell.arm[1:]
        if name in first:
            found.append(_between(arm, first[name], runs, bootstrap))
        else:
            first[name] = arm
    return tuple(found)


def _between(arm: Arm, other: Arm, runs: dict[str, Run], bootstrap: Bootstrap) -> BetweenRuns:
    mine, its = runs[arm.cell.run], runs[other.cell.run]
    answered = [[row.cell for row in one.rows if row.cell in runs[row.cell.run].predictions] for one in (arm, other)]
    against, why = None, ""
    if not all(answered):
        why = "not yet there in " + " and ".join(
            one.cell.run for one, cells in zip((arm, other), answered, strict=True) if not cells
        )
    elif not (pairs := seed_pairs(*answered)):
        why = "no seed in common"
    else:
        against = compare(
            [
                (
                    {key: row for key, row in mine.predictions[a].items() if one_text(mine, its, key)},
                    its.predictions[b],
                )
                for a, b in pairs
            ],
            other.cell,
            bootstrap,
        )
        if against is None:
            why = "no labelled question in common"
        elif not arm.n == other.n == against.pairs:
            why = f"on the {against.pairs:,} questions in common, of {arm.n:,} and {other.n:,}"
    return BetweenRuns(cell=arm.cell, other=other.cell, against=against, why=why)


def seed_pairs(*sides: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Cells of one seed, one of each side; a side that has one cell only brings it to each."""
    if not all(sides):
        return []
    by_seed = [{cell.seed: cell for cell in cells} for cells in sides]
    many = [held for held in by_seed if len(held) > 1]
    seeds = [seed for seed in many[0] if all(seed in held for held in many)] if many else [sides[0][0].seed]
    return [
        tuple(held[seed] if len(held) > 1 else cells[0] for cells, held in zip(sides, by_seed, strict=True))
        for seed in seeds
    ]


def one_text(run: Run, other: Run, key: str) -> bool:
    """Whether two runs mean one question by a key, as far as their corpora say."""
    a, b = run.questions.get(key), other.questions.get(key)
    return a is None or b is None or (a.stem, a.choices) == (b.stem, b.choices)


def alone(tables: Sequence[SplitTable]) -> tuple[str, ...]:
    """Name, in a sentence for each split, the arms that stand in one run only and so are compared with no other run."""
    sentences = []
    for table in tables:
        runs: dict[tuple[object, ...], list[Cell]] = {}
        for arm in table.arms:
            runs.setdefault(arm.cell.arm[1:], []).append(arm.cell)
        names = dict.fromkeys(arm_name(cells[0]) for cells in runs.values() if len(cells) == 1)
        if names:
            sentences.append(f"On {table.split} in one run only: {'; '.join(names)}.")
    return tuple(sentences)


def settings(runs: Sequence[Run]) -> tuple[Setting, ...]:
    """List the settings that differ. Of a student that is missing in a run the name is listed, not every setting."""
    every = [run.part.settings for run in runs]
    students = [run.experiment.students for run in runs]
    found = [
        Setting(key=f"students.{name}", values=tuple("there" if name in one else None for one in students))
        for name in dict.fromkeys(name for one in students for name in one)
        if not all(name in one for one in students)
    ]
    partly = {setting.key for setting in found}
    for key in dict.fromkeys(key for one in every for key in one):
        values = tuple(one.get(key) for one in every)
        if len({*values}) > 1 and key.partition(".")[0] not in OWN and ".".join(key.split(".")[:2]) not in partly:
            found.append(Setting(key=key, values=values))
    return tuple(found)
