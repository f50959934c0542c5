"""An API key is nowhere but in the environment and in the request: not in files, output, errors or the process list."""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_practice import practising, sampled

from scotd.corpus import Corpus
from scotd.errors import TeacherError
from scotd.teachers.practice import Fault

KEY = "sk-never-to-be-seen-0123456789"
VARIABLE = "SCOTD_TEST_KEY"
SCOTD = [sys.executable, "-m", "scotd.cli"]
EXPERIMENT = """
name: keys
corpus: {folder}/corpus.sqlite
run_folder: {folder}/run
questions: {{task: feedback, limit: {{train: 30, test: 5}}, dev: null}}
prompt: {{chat: true}}
teacher: {{kind: openai, model: practice, base_url: "{url}", api_key_env: {variable}, concurrency: 2}}
sampling: {{chains_per_question: 6, max_tokens: 64}}
student: smollm2-135m-instruct
students: {{scotd: {{target: scotd}}}}
evaluation: {{splits: [test]}}
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@dataclass
class Run:
    """One command in a process of its own: what it said, and the command lines of it and its children."""

    said: str = ""
    code: int | None = None
    lines: set[bytes] = field(default_factory=set)


def command(*arguments: str, kill_when: Callable[[], bool] = lambda: False) -> Run:
    """Run scotd with a key in its environment, until it ends or is to be ended by SIGKILL."""
    run = Run()
    environment = {**os.environ, VARIABLE: KEY}
    with subprocess.Popen(
        [*SCOTD, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            run.lines |= set(command_lines(process.pid))
            if kill_when():
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
        run.said, _ = process.communicate()
    run.code = process.returncode
    return run


def command_lines(pid: int) -> Iterator[bytes]:
    """Command lines of a process, its threads and all processes under it."""
    try:
        yield Path(f"/proc/{pid}/cmdline").read_bytes()
        for thread in Path(f"/proc/{pid}/task").iterdir():
            yield (thread / "comm").read_bytes()
            for child in (thread / "children").read_text().split():
                yield from command_lines(int(child))
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended


def places_of(key: str, folder: Path) -> list[str]:
    """Files below a folder that hold the key, in their bytes or their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if key.encode() in path.read_bytes() or key in str(path)]


def test_the_search_finds_a_key(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"\x00" + KEY.encode())
    assert places_of(KEY, tmp_path) == [str(tmp_path / "deep" / "file")]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(9)", KEY]) as process:
        time.sleep(0.2)
        assert any(KEY.encode() in line for line in command_lines(process.pid))
        process.kill()


def test_a_run_through_faults_and_a_kill_leaves_no_key(tmp_path: Path) -> None:
    faults = {Fault.BUSY: 0.1, Fault.BROKEN: 0.1, Fault.CUT: 0.1, Fault.BAD_JSON: 0.05}
    with practising(key=KEY, faults=faults, seconds=0.1, max_n=4) as practice:
        experiment = tmp_path / "keys.yaml"
        text = EXPERIMENT.format(folder=tmp_path, url=f"{practice.url}/v1", variable=VARIABLE)
        experiment.write_text(text, encoding="utf-8")
        killed = command("sample", str(experiment), kill_when=lambda: practice.counts.requests["answered"] > 8)
        assert killed.code == -signal.SIGKILL and (tmp_path / "corpus.sqlite-wal").stat().st_size
        assert places_of(KEY, tmp_path) == []
        runs = [killed, command("sample", str(experiment))]
        assert runs[-1].code == 0, runs[-1].said
        assert practice.counts.requests["answered"] > 10 and practice.counts.requests["refused: key"] == 0
    runs.append(command("report", str(tmp_path / "run")))
    assert runs[-1].code == 0 and (tmp_path / "run" / "report.html").is_file(), runs[-1].said
    with Corpus.open(tmp_path / "corpus.sqlite", "ro") as corpus:
        assert [one.cap.max_n for one in corpus.caps()] == [4] and sum(1 for _ in corpus.chains()) > 30
    assert places_of(KEY, tmp_path) == []
    for run in runs:
        assert KEY not in run.said and run.lines and not any(KEY.encode() in line for line in run.lines)


def test_a_key_that_is_refused_and_repeated_by_the_server_is_not_shown(tmp_path: Path) -> None:
    with practising(key="another") as practice:
        experiment = tmp_path / "keys.yaml"
        text = EXPERIMENT.format(folder=tmp_path, url=f"{practice.url}/v1", variable=VARIABLE)
        experiment.write_text(text, encoding="utf-8")
        refused = command("sample", str(experiment))
        assert practice.counts.requests["refused: key"] > 0
    assert refused.code == 2
    assert "HTTP 401 (Incorrect API key provided: [key])" in refused.said and VARIABLE in refused.said
    assert KEY not in refused.said and not any(KEY.encode() in line for line in refused.lines)
    assert places_of(KEY, tmp_path) == []


def test_no_error_holds_it_not_even_through_what_caused_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with practising(key="another") as practice, pytest.raises(TeacherError) as caught:
        sampled(practice, tmp_path / "c.sqlite", 2, questions=1, api_key_env=VARIABLE)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in repr(error) and KEY not in repr(vars(error)), error
        error = error.__cause__ or error.__context__
