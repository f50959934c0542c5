"""From a number of the report to what is behind it: every question of a cell, with its answer, votes and chains.

for page in answer_pages(run):
    page.file      # answers/scotd.test.greedy.html, beside report.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scotd.report.data import Answer, Cell
from scotd.report.examples import Example, example
from scotd.report.load import Run
from scotd.types import Mark, digest

FOLDER = "answers"
PAGE_CHARACTERS = 10_000_000  # of chains on one page; where votes are longer, of each question as many as fit
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
        votes = _fitting([rows[key] for key in known])
        for key in known:
            shown = example(run.questions[key], None, {cell: rows}, (), votes=votes)
            groups[rows[key].mark].append(shown)
        found = {kind: tuple(items) for kind, items in groups.items() if items}
        unknown = [rows[key] for key in sorted(rows) if key not in run.questions]
        unknown.sort(key=lambda answer: _ORDER.index(answer.mark))
        yield AnswerPage(cell=cell, groups=found, unknown=tuple(unknown))


def _fitting(answers: Sequence[Answer]) -> int:
    """How many chains of each answer a page has room for, at least one."""
    most = max((len(answer.chains) for answer in answers), default=1)
    characters = sum(len(chain.text) for answer in answers for chain in answer.chains)
    return most if characters <= PAGE_CHARACTERS else max(1, most * PAGE_CHARACTERS // characters)


def page_of(cell: Cell) -> str:
    """The path of a cell's page; a run's label may hold anything, a path may not."""
    name = ".".join(part for part in (cell.run, cell.student, cell.split, cell.decoding) if part)
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"{FOLDER}/{plain if plain == name else f'{plain}-{digest(name)[:8]}'}.html"
