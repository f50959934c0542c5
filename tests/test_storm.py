"""Sampling through a storm: every misbehaviour at once, and the client killed again and again. Nothing bought is lost.

The practice teacher runs in a process of its own, numbers every chain that it writes and keeps a ledger, so that each
chain of the corpus can be led back to the one reply that brought it.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from scotd.corpus import Corpus
from scotd.errors import CorpusError
from scotd.types import Prompt

FAULTS = {
    "429": 0.03,
    "429-retry-after": 0.005,
    "500": 0.03,
    "hang": 0.002,
    "cut": 0.03,
    "bad-json": 0.02,
    "drip": 0.01,
    "fewer": 0.03,
    "no-usage": 0.02,
    "no-logprobs": 0.02,
    "empty": 0.02,
    "length": 0.02,
    "content-filter": 0.02,
}
EXPERIMENT = """
name: storm
corpus: {folder}/corpus.sqlite
run_folder: {folder}/run
questions: {{task: feedback, limit: {{train: {questions}, test: 5}}, dev: null}}
prompt: {{chat: true}}
teacher: {{kind: openai, model: practice, base_url: "{url}", timeout_seconds: 3}}
sampling: {{chains_per_question: {n}, max_tokens: 64}}
student: smollm2-135m-instruct
students: {{scotd: {{target: scotd}}}}
evaluation: {{splits: [test]}}
"""
SCOTD = [sys.executable, "-m", "scotd.cli"]


@dataclass(frozen=True)
class Storm:
    """What is left after it."""

    corpus: Path
    ledger: Path
    kills: int


@contextmanager
def practice_teacher(ledger: Path, seed: int, seconds: float) -> Iterator[str]:
    faults = [part for name, share in FAULTS.items() for part in ("--fault", f"{name}={share}")]
    command = [*SCOTD, "practice-teacher", "--port", "0", "--numbered", "--ledger", str(ledger), "--max-n", "16"]
    command += ["--seconds", str(seconds)]
    with subprocess.Popen([*command, "--seed", str(seed), *faults], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+/v1", server.stdout.readline())
        assert found is not None
        try:
            yield found.group()
        finally:
            server.terminate()


def go_through(
    folder: Path, *, questions: int, n: int, kills: int, between: tuple[float, float], seed: int, seconds: float = 0.0
) -> Storm:
    """Sample until everything is there, killed so many times on the way. `seconds`: what the server takes a request."""
    draw = random.Random(seed)
    experiment, ledger = folder / "storm.yaml", folder / "ledger.jsonl"
    done = 0
    with practice_teacher(ledger, seed, seconds) as url:
        experiment.write_text(EXPERIMENT.format(folder=folder, questions=questions, n=n, url=url), encoding="utf-8")
        for _ in range(kills + 40):
            start = time.monotonic()
            with subprocess.Popen([*SCOTD, "sample", str(experiment)], stderr=subprocess.PIPE, text=True) as client:
                if done < kills:
                    before = _chains(folder)
                    while _chains(folder) == before and client.poll() is None:
                        time.sleep(0.05)  # killed while it samples, not while Python starts
                    time.sleep(draw.uniform(*between))
                    if client.poll() is None:
                        os.kill(client.pid, signal.SIGKILL)
                        done += 1
                _, said = client.communicate()
            if client.returncode == 0 and _chains(folder) == questions * n:
                return Storm(corpus=folder / "corpus.sqlite", ledger=ledger, kills=done)
            assert client.returncode in (0, 2, -signal.SIGKILL), said
            assert time.monotonic() - start < 1_800
    raise AssertionError(f"{_chains(folder)} of {questions * n} chains after {kills + 40} sittings")


def _chains(folder: Path) -> int:
    try:
        with Corpus.open(folder / "corpus.sqlite", "ro") as corpus:
            return sum(count.chains for count in corpus.stats().chains)
    except CorpusError:
        return 0  # not made yet


def check(storm: Storm) -> dict[str, int]:
    """Every committed chain is one that the server wrote for this question, once; the money agrees."""
    replies = [json.loads(line) for line in storm.ledger.read_text(encoding="utf-8").splitlines()]
    written = {text: number for number, reply in enumerate(replies) for text in reply["texts"] if text}
    with Corpus.open(storm.corpus, "ro") as corpus:
        chains = list(corpus.chains())
        prompts = corpus.prompts()
        counted = corpus.stats()
        open_requests = corpus.unaccounted()
    places = Counter((chain.question_key, chain.index) for chain in chains)
    assert max(places.values()) == 1
    texts = [chain.text for chain in chains if chain.text]
    assert len(set(texts)) == len(texts)  # numbered: a chain that stands twice was stored twice
    for chain in chains:
        if chain.text:
            reply = replies[written[chain.text]]  # KeyError: not what the server wrote
            assert reply["prompt"] == _as_asked(prompts[chain.prompt_id])
            assert reply["fault"] not in ("cut", "bad-json")
    brought = {written[text] for text in texts}
    billed = sum(replies[number]["usage"]["completion_tokens"] for number in brought if replies[number]["usage"])
    empty = [reply for reply in replies if not any(reply["texts"]) and reply["usage"]]
    assert (
        billed
        <= counted.requests.completion_tokens
        <= billed + sum(reply["usage"]["completion_tokens"] for reply in empty)
    )
    arrived = [text for text, number in written.items() if replies[number]["fault"] not in ("cut", "bad-json")]
    lost = len(set(arrived) - set(texts))
    named = sum(len(intent.indices) for intent in open_requests)
    assert lost <= named, "chains that were sent are neither in the corpus nor named by the journal"
    return {"chains": len(chains), "replies": len(replies), "lost": lost, "unaccounted": named, "kills": storm.kills}


def _as_asked(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages or ())


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_short_storm(tmp_path: Path) -> None:
    # A request takes so long that no machine is done before the third kill.
    found = check(go_through(tmp_path, questions=60, n=20, kills=3, between=(0.0, 0.2), seed=1, seconds=0.1))
    assert found["chains"] == 1_200 and found["kills"] == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_hundred_thousand_chains_and_twenty_kills(tmp_path: Path) -> None:
    found = check(go_through(tmp_path, questions=1_200, n=84, kills=20, between=(1.0, 12.0), seed=2))
    assert found["chains"] == 100_800 and found["kills"] == 20
