"""Sampling through a server: chains a second into a corpus, what one costs the client, how busy the server is kept.

    python bench/sample.py                     # both parts, about two minutes
    python bench/sample.py --chains 30000 --only at_once
    python bench/sample.py --only planned --chains 1000000    # what planning and sampling so many hold in memory

The practice teacher runs in a process of its own and answers requests for 30 chains: at once, for the overhead of the
client and the corpus, with log-probabilities and without; and as a server does that takes a second a request and works
on 32, for the share of its capacity that is reached, growth from the first request included. The client runs in a
process of its own too. Equality first: chains in the corpus, and tokens, are what the server says it sent. There is no
peer: the floor is a number of chains a second. `planned` runs the commands `scotd sample --dry-run` and `scotd sample`
on questions of a file, each in a process of its own.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import Found, ask, emit, note, peak_gib, worker

SCRIPT = str(Path(__file__))
N = 30
COLUMNS = {"id": "id", "question": "question", "answer": "answer"}
SECONDS, SLOTS = 1.0, 32
PARTS: dict[str, dict[str, Any]] = {
    "at_once": {"chains": 60_000, "server": [], "logprobs": True},
    "at_once_without_logprobs": {"chains": 60_000, "server": [], "logprobs": False},
    "capacity": {
        "chains": 90_000,
        "server": ["--seconds", str(SECONDS), "--slots", str(SLOTS)],
        "logprobs": True,
        "capacity": SLOTS * N / SECONDS,
    },
}


@contextmanager
def serving(options: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The practice teacher's address, and its process."""
    command = [sys.executable, "-m", "scotd.cli", "practice-teacher", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2].removesuffix("/v1"), process
        finally:
            process.send_signal(signal.SIGTERM)


def cpu_seconds(process: int) -> float:
    """What a process has used so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def training_questions() -> list[Any]:
    from scotd.config import QuestionsConfig
    from scotd.tasks import load_questions

    return [one for one in load_questions(QuestionsConfig(task="feedback")) if one.split == "train"]


def sampled(spec: Any) -> Found:
    import httpx

    from scotd.config import PromptConfig, TeacherConfig
    from scotd.corpus import Corpus
    from scotd.progress import silent
    from scotd.prompts import Templates, teacher_prompt
    from scotd.tasks.exemplars import load_exemplars
    from scotd.teachers.openai import OpenAITeacher
    from scotd.teachers.sampling import Want, sample
    from scotd.types import SamplingParams

    asked = training_questions()
    count = spec["chains"] // N
    questions = [replace(asked[k % len(asked)], id=f"{k:06}") for k in range(count)]
    exemplars, templates = load_exemplars("feedback"), Templates.of(PromptConfig(chat=True))
    sampling = SamplingParams(max_tokens=128)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(spec["server"]) as (url, server),
        Corpus.open(Path(folder) / "corpus.sqlite") as corpus,
    ):
        corpus.add_questions(questions)
        wants = [
            Want(question_key=one.key, prompt=teacher_prompt(one, exemplars, templates), sampling=sampling, n=N)
            for one in questions
        ]
        config = TeacherConfig(kind="openai", model="practice", base_url=url, logprobs=spec["logprobs"])
        ours, theirs, started = time.process_time(), cpu_seconds(server.pid), time.perf_counter()
        report = sample(corpus, OpenAITeacher(config), wants, progress=silent)
        seconds = time.perf_counter() - started
        ours, theirs = time.process_time() - ours, cpu_seconds(server.pid) - theirs
        told = httpx.get(f"{url}/practice", trust_env=False).json()
        stored = sum(one.chains for one in corpus.stats().chains)
    return {
        "equal": told["choices"] == stored == report.received == count * N
        and told["billed"]["completion_tokens"] == report.completion_tokens,
        "chains": stored,
        "seconds": seconds,
        "client_cpu": ours,
        "server_cpu": theirs,
        "peak_gib": peak_gib(),
    }


def planned(chains: int) -> Found:
    """The two commands on so many chains: their seconds and the most memory each has held."""
    from scotd.corpus import Corpus

    asked = training_questions()
    with tempfile.TemporaryDirectory() as name, serving([]) as (url, _):
        folder = Path(name)
        asking = chains // N
        with (folder / "train.jsonl").open("w") as train, (folder / "test.jsonl").open("w") as test:
            for number in range(asking + 1):
                one = asked[number % len(asked)]
                row = {"id": f"{number:08}", "question": f"{one.stem} ({number})", "answer": one.gold}
                print(json.dumps(row), file=train if number < asking else test)
        labels = [choice.label for choice in asked[0].choices]
        files = {"train": "train.jsonl", "test": "test.jsonl"}
        experiment = {
            "name": "planned",
            "corpus": "corpus.sqlite",
            "questions": {"task": "planned", "files": files, "columns": COLUMNS, "labels": labels, "dev": None},
            "prompt": {"exemplars": "feedback", "chat": True},
            "teacher": {"kind": "openai", "model": "practice", "base_url": url},
            "sampling": {"chains_per_question": N, "max_tokens": 128},
            "student": "none",
            "students": {"scotd": {"target": "scotd"}},
            "evaluation": {"splits": ["test"]},
        }
        (folder / "e.yaml").write_text(json.dumps(experiment))
        found = {}
        for what, options in {"planned": ["--dry-run"], "sampled": []}.items():
            found[what] = ask(SCRIPT, "command", {"arguments": ["sample", str(folder / "e.yaml"), *options]})
        with Corpus.open(folder / "corpus.sqlite", "ro") as corpus:
            stored = sum(one.chains for one in corpus.stats().chains)
    return {"equal": stored == asking * N, "chains": stored, **found}


def command(spec: Any) -> Found:
    """One command of `scotd`."""
    from scotd.cli import cli

    started = time.perf_counter()
    cli(spec["arguments"], standalone_mode=False)
    return {"seconds": round(time.perf_counter() - started, 1), "peak_gib": peak_gib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    sides = {"ours": sampled, "command": command}
    parser.add_argument("--side", choices=sides, help="be the client")
    parser.add_argument("--only", choices=[*PARTS, "planned"], help="one part")
    parser.add_argument("--chains", type=int, help="instead of each part's own number")
    given = parser.parse_args()
    if given.side:
        worker(sides, given.side)
        return
    if given.only == "planned":
        found = planned(given.chains or 100_000)
        if not found.pop("equal"):
            sys.exit("planned: the corpus does not hold what was planned. Nothing was measured.")
        emit("sample_planned", **found)
        return
    for name, part in PARTS.items():
        if given.only not in (None, name):
            continue
        spec = {**part, "chains": given.chains or part["chains"]}
        note(f"{name}, {spec['chains']} chains")
        found = ask(SCRIPT, "ours", spec)
        if not found["equal"]:
            sys.exit(f"{name}: the corpus does not hold what the server sent. Nothing was measured.")
        rate = found["chains"] / found["seconds"]
        capacity = part.get("capacity")
        emit(
            f"sample_{name}",
            chains=found["chains"],
            chains_a_second=round(rate),
            seconds=round(found["seconds"], 1),
            client_cpu_us_a_chain=round(1e6 * found["client_cpu"] / found["chains"]),
            server_cpu_us_a_chain=round(1e6 * found["server_cpu"] / found["chains"]),
            peak_gib=found["peak_gib"],
            **({} if capacity is None else {"capacity": capacity, "share_of_capacity": round(rate / capacity, 3)}),
        )


if __name__ == "__main__":
    main()
