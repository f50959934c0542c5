"""Progress of a long stage on stderr: a bar on a terminal, plain lines elsewhere (logs, CI, pipes).

    with track("sampling", total=4000) as progress:
        progress.advance(8, note="3 failed")
        progress.say("the server refuses n > 1")

Plain mode prints a line at most every 10 seconds and one at the end, so that a log of a day stays readable.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:  # rich: only a terminal needs it
    from rich.console import Console
    from rich.progress import Progress as Bars

PLAIN_EVERY_SECONDS = 10.0
# Work that comes in bursts (a batch of chains) has no rate worth a forecast in its first one.
SETTLED_SECONDS, SETTLED_SHARE = 60.0, 0.05


class Progress(Protocol):
    """What a stage tells of itself."""

    def begin_at(self, n: int) -> None:
        """Count `n` that were done earlier: no rate and no forecast is made of them."""

    def advance(self, n: int, note: str = "") -> None:
        """Count `n` more done; `note` replaces the earlier note ("" keeps it)."""

    def say(self, message: str) -> None:
        """Show one line that stays."""


Tracker = Callable[[str, int | None], AbstractContextManager[Progress]]
"""What a stage is given: called with a description and a total (None where it is not known), see `track`."""


@contextmanager
def track(
    description: str,
    total: int | None = None,
    *,
    stream: TextIO | None = None,
    every_seconds: float = PLAIN_EVERY_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Yield a Progress for `total` steps. It ends with a last line or bar on an exception as well."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        with _bar(description, total, stream) as bar:
            yield bar
        return
    lines = _Lines(description, total, stream, every_seconds, clock)
    try:
        yield lines
    finally:
        lines.end()


@contextmanager
def silent(description: str, total: int | None = None) -> Iterator[Progress]:
    """A Tracker that shows nothing (tests, library use)."""
    yield _Silent()


class _Silent:
    def begin_at(self, n: int) -> None:
        pass

    def advance(self, n: int, note: str = "") -> None:
        pass

    def say(self, message: str) -> None:
        pass


class _Lines:
    """Plain lines: at most one every `every_seconds`, and one at the end."""

    def __init__(
        self, description: str, total: int | None, stream: TextIO, every_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._description, self._total, self._stream = description, total, stream
        self._every, self._clock = every_seconds, clock
        self._started = self._last = clock()
        self._done = self._before = 0
        self._note = ""

    def begin_at(self, n: int) -> None:
        self._done = self._before = n
        self._started = self._clock()

    def advance(self, n: int, note: str = "") -> None:
        self._done += n
        self._note = note or self._note
        now = self._clock()
        if now - self._last >= self._every:
            self._last = now
            self._write(self._line(now - self._started, ended=False))

    def say(self, message: str) -> None:
        self._write(f"{self._description}: {message}")

    def end(self) -> None:
        self._write(self._line(self._clock() - self._started, ended=True))

    def _line(self, seconds: float, *, ended: bool) -> str:
        share = f" of {self._total} ({self._done / self._total:.0%})" if self._total else ""
        rate = (self._done - self._before) / seconds if seconds > 0 else 0.0
        parts = [f"{self._done}{share}", _rate(rate)]
        if ended:
            parts.append(f"{duration(seconds)} in all")
        elif self._total and rate > 0 and (seconds >= SETTLED_SECONDS or self._done >= self._total * SETTLED_SHARE):
            parts.append(f"{duration(max(0, self._total - self._done) / rate)} left")
        if self._note:
            parts.append(self._note)
        return f"{self._description}: {', '.join(parts)}"

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


@contextmanager
def _bar(description: str, total: int | None, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console

    with bars(Console(file=stream)) as shown, on_bar(shown, description, total) as bar:
        yield bar


def bars(console: "Console") -> "Bars":
    """Where stages show their bars."""
    from rich import progress as rich_progress

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


@contextmanager
def on_bar(shown: "Bars", description: str, total: int | None, *, stays: bool = True) -> Iterator[Progress]:
    """A bar of its own for one stage; one that does not stay is gone when the stage ends."""
    from rich.markup import escape

    task = shown.add_task(escape(description), total=total, note="")

    class _Bar:
        def begin_at(self, n: int) -> None:
            shown.reset(task, completed=n)

        def advance(self, n: int, note: str = "") -> None:
            if note:
                shown.update(task, advance=n, note=note)
            else:
                shown.update(task, advance=n)

        def say(self, message: str) -> None:
            shown.console.print(message, markup=False, highlight=False)

    try:
        yield _Bar()
    finally:
        if not stays:
            shown.remove_task(task)


def _rate(a_second: float) -> str:
    """0.21 -> "12.6/min", 2.04 -> "2.0/s"."""
    return f"{a_second:.1f}/s" if a_second >= 1 or a_second == 0 else f"{a_second * 60:.1f}/min"


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
