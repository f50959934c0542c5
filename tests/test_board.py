"""A run on a terminal: the table of cells fills up, and a long one shows where the run is."""

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console
from test_progress import Terminal

from scotd.cli.board import Board, cell_table
from scotd.evaluate import Accuracy
from scotd.experiment import Cell
from scotd.stats import wilson


def cell(student: str, split: str = "test", correct: int | None = None, *, gold: bool = True) -> Cell:
    found = None
    if correct is not None and gold:
        found = Accuracy(questions=100, correct=correct, tied=0, unparsed=0, interval=wilson(correct, 100, 0.95))
    return Cell(student=student, split=split, decoding="greedy", accuracy=found, done=correct is not None)


def text_of(cells: Sequence[Cell], height: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=120, record=True)
    table = cell_table(cells, height)
    assert table is not None
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_what_is_done_what_is_to_come_and_what_has_no_gold() -> None:
    lines = text_of([cell("scotd", correct=77), cell("scotd", "contrast"), cell("labels", correct=1, gold=False)])
    assert re.fullmatch(r"student +test, greedy +contrast, greedy", lines[0])
    assert re.search(r"scotd +77\.0%  67\.8% to 84\.2% +…", lines[1])
    assert re.search(r"labels +no gold labels", lines[2])
    assert lines[-1] == "2 of 3 accuracies"


def test_of_a_long_table_the_part_that_runs_is_shown() -> None:
    cells = [cell(f"student-{number}", correct=50 if number < 30 else None) for number in range(60)]
    shown = [line.split()[0] for line in text_of(cells, height=10)[1:-1]]
    assert shown == [f"student-{number}" for number in range(22, 32)]
    assert text_of(cells, height=10)[-1] == "30 of 60 accuracies, 10 of 60 students"
    finished = [cell(f"student-{number}", correct=50) for number in range(60)]
    assert text_of(finished, height=10)[10].startswith("student-59")


def test_nothing_before_there_are_cells() -> None:
    assert cell_table([], 10) is None


def test_a_terminal_sees_table_bar_and_remarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with Board(stream) as board:
        board.show([cell("scotd"), cell("labels")])
        board.say("note: a [remark] with \x1b[31mcolour")
        with board.track("scotd answers [test]", 4) as bar:
            bar.advance(4, note="1 [unparsed]")
            board.show([cell("scotd", correct=77), cell("labels")])
            board._live.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "note: a [remark] with" in shown and "\x1b[31mcolour" not in stream.getvalue()
    assert "scotd answers [test]" in shown and "4/4" in shown and "1 [unparsed]" in shown
    assert "1 of 2 accuracies" in shown and "77.0%" in shown
