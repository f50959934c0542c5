"""Progress: plain lines are few and end with a sum; a terminal gets a bar."""

import io
import re

import pytest

from scotd.progress import silent, track


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_at_most_every_ten_seconds_and_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with track("sampling", 100, stream=stream, clock=clock) as progress:
        for _ in range(50):
            clock.now += 0.5
            progress.advance(1, note="2 failed")
    assert stream.getvalue().splitlines() == [
        "sampling: 20 of 100 (20%), 2.0/s, 40 s left, 2 failed",
        "sampling: 40 of 100 (40%), 2.0/s, 30 s left, 2 failed",
        "sampling: 50 of 100 (50%), 2.0/s, 25 s in all, 2 failed",
    ]


def test_the_note_stays_until_the_next_one_and_remarks_are_lines() -> None:
    clock, stream = Clock(), io.StringIO()
    with track("training", stream=stream, clock=clock) as progress:
        progress.advance(1, note="loss 2.0")
        progress.say("checkpoint written")
        clock.now = 4000
        progress.advance(1)
    assert stream.getvalue().splitlines() == [
        "training: checkpoint written",
        "training: 2, 0.0/min, loss 2.0",
        "training: 2, 0.0/min, 1 h 6 min in all, loss 2.0",
    ]


def test_the_last_line_comes_after_an_error_too() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="stop"), track("sampling", 5, stream=stream) as progress:
        progress.advance(2)
        raise ValueError("stop")
    assert stream.getvalue().startswith("sampling: 2 of 5 (40%)")


def test_nothing_to_do() -> None:
    stream = io.StringIO()
    with track("sampling", 0, stream=stream, clock=Clock()):
        pass
    assert stream.getvalue() == "sampling: 0, 0.0/s, 0 s in all\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with track("sampling [x]", 4, stream=stream) as progress:
        progress.begin_at(2)
        progress.advance(1, note="1 [failed]")
        progress.say("a remark [in brackets]")
        progress.advance(1)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "sampling [x]" in shown and "4/4" in shown and "1 [failed]" in shown
    assert "a remark [in brackets]" in shown


def test_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with silent("sampling", 3) as progress:
        progress.advance(3)
        progress.say("nothing")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_forecast_waits_for_a_rate_that_means_something() -> None:
    stream, clock = io.StringIO(), Clock()
    with track("sampling", 1000, stream=stream, clock=clock) as progress:
        clock.now = 40
        progress.advance(8)  # the first of a batch's 64: the others come in the same moment
        clock.now = 80
        progress.advance(72)
    assert stream.getvalue().splitlines()[:2] == [
        "sampling: 8 of 1000 (1%), 12.0/min",
        "sampling: 80 of 1000 (8%), 1.0/s, 15 min 20 s left",
    ]


def test_what_was_done_before_makes_no_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    with track("training", 132, stream=stream, clock=clock) as progress:
        clock.now = 30  # loading
        progress.begin_at(88)
        clock.now = 42
        progress.advance(2)
        clock.now = 54
    assert stream.getvalue().splitlines() == [
        "training: 90 of 132 (68%), 10.0/min, 4 min 12 s left",
        "training: 90 of 132 (68%), 5.0/min, 24 s in all",
    ]
