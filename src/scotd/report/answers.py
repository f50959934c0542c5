"""From a number of the report to what is behind it: every question of a cell, with its answer, votes and chains.

for page in answer_pages(run):
    page.file      # answers/scotd.test.greedy.html, beside report.html
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scotd.report.data import Answer, Cell
from scotd.report.examples import Example, example
from scotd.report.load import Run
from scotd.types import Mark, digest

FOLDER = "answers"
PAGE_CHAINS = 50_000  # that a page holds; where votes are more, of each question as many chains as fit
_ORDER = (Mark.WRONG, Mark.UNPARSED, Mark.RIGHT, Mark.OPEN)  # what one looks for comes first


@dataclass(frozen=True, kw_only=True)
class AnswerPage:
    """The answers of one cell by their mark, in the order of their keys; of `unknown` no question text is at hand."""

    cell: Cell
    groups: Mapping[Mark, tuple[Example, ...]]
    unknown: tuple[Answer, ...]

    @property
    def file(self) -> str:
        """Where the page stands, seen from the report."""
        return page_of(self.cell)


def answer_pages(run: Run) -> Iterator[AnswerPage]:
    """The pages of all answered cells of a run."""
    for cell, rows in run.predictions.items():
        groups: dict[Mark, list[Example]] = {kind: [] for kind in _ORDER}
        known = [key for key in sorted(rows) if key in run.questions]
        for key in known:
            shown = example(run.questions[key], None, {cell: rows}, (), votes=max(1, PAGE_CHAINS // len(known)))
            groups[rows[key].mark].append(shown)
        found = {kind: tuple(items) for kind, items in groups.items() if items}
        strange = [rows[key] for key in sorted(rows) if key not in run.questions]
        unknown = tuple(sorted(strange, key=lambda answer: _ORDER.index(answer.mark)))
        yield AnswerPage(cell=cell, groups=found, unknown=unknown)


def page_of(cell: Cell) -> str:
    """The path of a cell's page; a run's label may hold anything, a path may not."""
    name = ".".join(part for part in (cell.run, cell.student, cell.split, cell.decoding) if part)
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"{FOLDER}/{plain if plain == name else f'{plain}-{digest(name)[:8]}'}.html"
