"""A run on a terminal: its cells as a table that fills up, above the bars of what is running.

    with Board(sys.stderr) as board:
        run(experiment, say=board.say, progress=board.track, show=board.show)

What is not a terminal gets lines (`progress.track`, and a line a cell).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scotd.cli.terminal import safe
from scotd.experiment import Cell
from scotd.progress import Progress, bars, on_bar

LINES_AROUND = 8  # of a terminal: header, rules, what was cut off, bars


class Board:
    """Owns a terminal for the length of a run; the table stays there at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._bars = bars(self._console)
        self._cells: Sequence[Cell] = ()
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)

    def __enter__(self) -> "Board":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def track(self, description: str, total: int | None = None) -> AbstractContextManager[Progress]:
        """A bar while a stage runs; see `progress.track`."""
        return on_bar(self._bars, description, total, stays=False)

    def say(self, message: str) -> None:
        """A line that stays, above the table."""
        self._console.print(safe(message), markup=False, highlight=False)

    def show(self, cells: Sequence[Cell]) -> None:
        """The cells as they are now, those to come among them."""
        self._cells = cells

    def _render(self) -> RenderableType:
        table = cell_table(self._cells, self._console.height - LINES_AROUND)
        return self._bars if table is None else Group(table, self._bars)


def cell_table(cells: Sequence[Cell], height: int) -> RenderableType | None:
    """A row for each student, a column for each split and decoding; None before there are cells.

    Of more than `height` rows those around the next cell to come are shown, and how many are not.
    """
    if not cells:
        return None
    columns = list(dict.fromkeys((cell.split, cell.decoding) for cell in cells))
    by_place = {(cell.student, cell.split, cell.decoding): cell for cell in cells}
    students = list(dict.fromkeys(cell.student for cell in cells))
    height = max(3, height)
    last = next((cell.student for cell in cells if not cell.done), students[-1])
    end = min(len(students), max(height, students.index(last) + 2))
    shown = students[max(0, end - height) : end]
    done = sum(cell.done for cell in cells)
    cut = f", {len(shown)} of {len(students)} students" if len(shown) < len(students) else ""
    table = Table(box=None, pad_edge=False)
    table.add_column("student", no_wrap=True)
    for split, decoding in columns:
        table.add_column(f"{split}, {decoding}", no_wrap=True)
    for student in shown:
        table.add_row(Text(student), *(_value(by_place.get((student, *column))) for column in columns))
    return Group(table, Text(f"{done} of {len(cells)} accuracies{cut}", style="dim"))


def _value(cell: Cell | None) -> Text:
    if cell is None:
        return Text("")
    if not cell.done:
        return Text("…", style="dim")
    found = cell.accuracy
    if found is None:
        return Text("no gold labels", style="dim")
    interval = f"  {found.interval.low:.1%} to {found.interval.high:.1%}"
    return Text.assemble(f"{found.rate:6.1%}", (interval, "dim"))
