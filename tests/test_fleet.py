"""Workers on Ray: the chains of one process, each once, whoever dies; and nothing left behind.

Ray is started for real, on this machine, with two workers. What needs more of its starts carries the mark `slow`.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import MakeModel

from scotd.config import RayConfig, TeacherConfig
from scotd.corpus import Corpus
from scotd.errors import ConfigError
from scotd.models import resolve
from scotd.progress import silent
from scotd.teachers.sampling import SampleReport, Want, sample
from scotd.types import Chain, Choice, Prompt, Question, SamplingParams

pytest.importorskip("ray")
TWO = RayConfig(workers=2, cpus=0.5)
HOT = SamplingParams(temperature=1.0, max_tokens=60)
FEW_SHOT = "Q: is the sky blue?\nA: It is blue. So the answer is yes.\n\n"
CHOICES = (Choice(label="A", text="yes"), Choice(label="B", text="no"))
QUESTIONS = [
    Question(id=str(k), task="t", split="train", stem=f"is {k} odd{' or so' * (k % 3)}?", choices=CHOICES, gold="A")
    for k in range(24)
]


@pytest.fixture
def folder(make_model: MakeModel, tokenizer: Any, tmp_path: Path) -> Path:
    make_model("llama").save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


def workers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "ray::Worker" in " ".join(process.cmdline())
    ]


def sampled(folder: Path, corpus: Path, ray: RayConfig | None, n: int = 4) -> tuple[SampleReport, dict[str, Chain]]:
    """Sample every question, and the chains that are then in the corpus."""
    from scotd.teachers.local import LocalTeacher

    config = TeacherConfig(model=str(folder), batch_chains=8, precision="float32", device="cpu")
    wants = [
        Want(question_key=one.key, prompt=Prompt(text=f"{FEW_SHOT}Q: {one.stem}\nA:"), sampling=HOT, n=n)
        for one in QUESTIONS
    ]
    with Corpus.open(corpus) as opened:
        opened.add_questions(QUESTIONS)
        teacher = LocalTeacher(config, resolve(str(folder)), ray=ray)
        report = sample(opened, teacher, wants, progress=silent)
        assert opened.unaccounted() == []
        chains = list(opened.chains())
    found = {chain.id: chain for chain in chains}
    assert len(found) == len(chains)
    return report, found


def test_a_killed_worker_costs_its_block_and_the_chains_are_those_of_one_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scotd.fleet import Fleet

    here, alone = sampled(folder, tmp_path / "here.sqlite", None)
    buried: list[Any] = []
    bury, write, sent = Fleet._bury, Fleet.write, []

    def noted(fleet: Fleet, worker: Any, task: Any, *rest: Any) -> None:
        buried.append(task)
        bury(fleet, worker, task, *rest)

    def killing(fleet: Fleet, blocks: Any) -> Iterator[Any]:
        def watched() -> Iterator[Any]:
            for block in blocks:
                sent.append(block)
                yield block

        for number, written in enumerate(write(fleet, watched())):
            if number == 2:
                assert all(task.block is not None for _, task in fleet._busy.values()), "all are in the middle of one"
                os.kill(workers()[0].pid, signal.SIGKILL)
            yield written

    monkeypatch.setattr(Fleet, "_bury", noted)
    monkeypatch.setattr(Fleet, "write", killing)
    report, found = sampled(folder, tmp_path / "ray.sqlite", TWO)
    assert [task.block is not None for task in buried] == [True], "one worker died, over one block"
    assert len(sent) == 12, "no other block was sent twice"
    assert (report.asked, report.received, report.requests) == (96, 96, here.requests)
    assert report.completion_tokens == here.completion_tokens
    assert found.keys() == alone.keys() and len({chain.text for chain in found.values()}) > 80
    for key, chain in found.items():
        assert (chain.text, chain.finish, chain.n_tokens) == (alone[key].text, alone[key].finish, alone[key].n_tokens)
        assert chain.mean_logprob == pytest.approx(alone[key].mean_logprob, abs=1e-6)
    assert workers() == []


def test_settings_that_cannot_be_served_are_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"ray\.workers: 999 workers with 1 CPUs each do not fit .* CPUs on 1 machines"
    ):
        sampled(folder, tmp_path / "a.sqlite", RayConfig(workers=999, cpus=1))
    with pytest.raises(ConfigError, match=r"ray\.address: 127\.0\.0\.1:1: no Ray cluster answers there"):
        sampled(folder, tmp_path / "b.sqlite", RayConfig(address="127.0.0.1:1"))
    with Corpus.open(tmp_path / "a.sqlite") as corpus:
        assert list(corpus.chains()) == []
    assert workers() == []
