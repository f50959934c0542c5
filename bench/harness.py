"""What the benchmarks share: sides in processes of their own that take turns, and one JSON line for each result.

A benchmark file is its own worker: `python bench/train.py --side ours` reads a JSON specification from stdin and prints
its findings as the last line of stdout. Processes of their own keep one side's memory, allocator and threads out of the
other's; turns keep a busy machine busy for all. Sides with a `Clock` can take turns step by step: then minutes in which
the machine is slow are slow for both.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

Found = dict[str, Any]
STEP = "step"  # what a worker says between two of its steps


def emit(name: str, **values: Any) -> None:
    """Print one result. `ratio` says how many times better ours is."""
    from scotd.device import machine
    from scotd.experiment.record import versions

    line = {"name": name, **values, "versions": {**versions(), **peers()}, "machine": machine()}
    print(json.dumps(line), flush=True)


def peers() -> dict[str, str]:
    return {name: version(name) for name in ("trl", "openvino-genai") if _installed(name)}


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ModuleNotFoundError:
        return False


class Side:
    """One side's process, from its first step to its findings."""

    def __init__(self, script: str, side: str, spec: Mapping[str, Any]) -> None:
        self.what = f"{script} --side {side}"
        self.found: Found | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, script, "--side", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        self._tell(json.dumps(spec))

    def step(self) -> None:
        """Let it go on, to its next step's end or to its own."""
        self._tell("")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        last = ""
        for answer in self._process.stdout:
            if answer.strip() == STEP:
                return
            last = answer.strip() or last
        if self._process.wait() != 0:
            self._fail()
        self.found = json.loads(last)

    def _fail(self) -> NoReturn:
        self._errors.seek(0)
        sys.exit(f"{self.what} failed:\n{self._errors.read()[-3000:]}")


class Clock:
    """A worker's steps, each timed from when it may begin. The first begins when the clock is made."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = time.perf_counter()

    def tick(self, *_: object) -> None:
        """A step is done: wait for this side's next turn."""
        self.seconds.append(time.perf_counter() - self._started)
        print(f"\n{STEP}", flush=True)
        sys.stdin.readline()
        self._started = time.perf_counter()


def ask(script: str, side: str, spec: Mapping[str, Any]) -> Found:
    """Run one side to its end. Its stderr is shown where it fails."""
    return step_by_step(script, [side], spec)[side]


def step_by_step(script: str, sides: Sequence[str], spec: Mapping[str, Any]) -> dict[str, Found]:
    """Run the sides in turns of one step, all in memory at once; one starts when the first step of another is done."""
    asked = {side: Side(script, side, spec) for side in sides}
    while waiting := [one for one in asked.values() if one.found is None]:
        for one in waiting:
            one.step()
    return {side: one.found for side, one in asked.items() if one.found is not None}


def turns(script: str, sides: Sequence[str], spec: Mapping[str, Any], rounds: int) -> dict[str, list[Found]]:
    """Ask every side once a round."""
    found: dict[str, list[Found]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            note(f"{spec.get('name', Path(script).stem)}: round {number + 1} of {rounds}, {side}")
            found[side].append(ask(script, side, spec))
    return found


def worker(sides: Mapping[str, Callable[[Any], Found]], side: str) -> None:
    """The other end of a `Side`."""
    print("\n" + json.dumps(sides[side](json.loads(sys.stdin.readline()))), flush=True)


def median(found: Sequence[Found], key: str) -> float:
    """Of all measured values under a key (a number or a list of them) over the rounds."""
    values = [value for one in found for value in (one[key] if isinstance(one[key], list) else [one[key]])]
    return float(statistics.median(values))


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peak_gib() -> float:
    """Most memory this process has held, GiB. Linux's getrusage counts the process that started this one too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 2**20, 3)
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30, 3)
