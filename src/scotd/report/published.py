"""Published numbers beside ours: `published` of the experiment file, each with the arms that answer to it.

No test stands between them: what was published comes without its questions' answers, and often without their number.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scotd.config import Experiment, portable
from scotd.report.data import Arm, SplitTable
from scotd.report.load import Run


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A published number and the arm it is set beside; `arm` is None where the experiment has none at that place."""

    what: str
    where: str
    note: str
    split: str
    row: str
    published: float
    arm: Arm | None


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published numbers that one experiment names, and the differences in set-up: where a setting is another one,
    then the experiment's own sentences."""

    run: str
    rows: tuple[Beside, ...]
    differences: tuple[str, ...]


def published(run: Run, label: str, tables: Sequence[SplitTable]) -> Published | None:
    """Set a run's arms beside the published numbers; None where its experiment names none."""
    section = run.experiment.published
    if not section.results and not section.setup and not section.differences:
        return None
    arms = [arm for table in tables for arm in table.arms if arm.cell.run == label]
    rows: list[Beside] = []
    for result in section.results:
        fitting: list[Arm | None] = [
            arm
            for arm in arms
            if (arm.cell.row, arm.cell.split) == (result.row, result.split)
            and result.decoding in (None, arm.cell.decoding)
            and result.at.items() <= dict(arm.cell.place).items()
        ]
        rows += [
            Beside(
                what=result.what,
                where=result.where,
                note=result.note or "",
                split=result.split,
                row=result.row,
                published=result.value / 100,
                arm=arm,
            )
            for arm in fitting or [None]
        ]
    other = [_other(run.experiment, key, value) for key, value in section.setup.items()]
    sentences = (*(sentence for sentence in other if sentence is not None), *section.differences)
    return Published(run=label, rows=tuple(rows), differences=sentences)


def _other(experiment: Experiment, key: str, value: Any) -> str | None:
    """A sentence where what stands at a key path is not a published value alone."""
    imported = key == "teacher.model" and experiment.teacher.kind == "imported"
    here = experiment.settings_at("teacher.name" if imported else key)
    if here == [value]:
        return None
    return f"{key}: {_text(value)} there, {' and '.join(map(_text, here))} here."


def _text(value: Any) -> str:
    shown = portable(value)
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
