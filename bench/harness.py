"""What the benchmarks share: sides in processes of their own that take turns, and one JSON line for each result.

A benchmark file is its own worker: `python bench/train.py --side ours` reads a JSON specification from stdin and prints
its findings as the last line of stdout. Processes of their own keep one side's memory, allocator and threads out of the
other's; turns keep a busy machine busy for all.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

Found = dict[str, Any]


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


def ask(script: str, side: str, spec: Mapping[str, Any]) -> Found:
    """Run one side in a process of its own. Its stderr is shown where it fails."""
    done = subprocess.run(
        [sys.executable, script, "--side", side],
        check=False,
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    if done.returncode != 0:
        sys.exit(f"{script} --side {side} failed:\n{done.stderr[-3000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def turns(script: str, sides: Sequence[str], spec: Mapping[str, Any], rounds: int) -> dict[str, list[Found]]:
    """Ask every side once a round."""
    found: dict[str, list[Found]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            note(f"{spec.get('name', Path(script).stem)}: round {number + 1} of {rounds}, {side}")
            found[side].append(ask(script, side, spec))
    return found


def worker(sides: Mapping[str, Callable[[Any], Found]], side: str) -> None:
    """The other end of `ask`."""
    print("\n" + json.dumps(sides[side](json.load(sys.stdin))), flush=True)


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
