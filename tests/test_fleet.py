"""Workers on Ray: the chains of one process, each once, whoever dies; and nothing left behind.

Ray is started for real, on this machine, with two workers. What needs more of its starts carries the mark `slow`.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import MakeModel

from scotd.blocks import Block
from scotd.config import RayConfig, TeacherConfig
from scotd.corpus import Corpus
from scotd.errors import ConfigError, RunError
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

        fleet.ray.wait(list(fleet._busy), num_returns=len(fleet._busy), timeout=60)  # both have their model
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


def test_a_cluster_that_does_not_answer_is_told_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ray\.address: 127\.0\.0\.1:1: no Ray cluster answers there"):
        sampled(folder, tmp_path / "corpus.sqlite", RayConfig(address="127.0.0.1:1"))


@dataclass(frozen=True, eq=False)
class _ToCome:
    """An answer that a worker was asked for."""

    worker: int
    what: tuple[Any, ...]


class Unlucky:
    """Ray as far as a fleet uses it, in this process: answers come in any order, workers die when the draw says so."""

    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        cause: Exception

    def __init__(self, draw: random.Random, deaths: float) -> None:
        self.draw, self.deaths = draw, deaths
        self.exceptions = self
        self.dead: set[int] = set()
        self.hired = 0

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def remote(self, **options: Any) -> Any:
        assert options == {"num_cpus": 0.5, "num_gpus": 0.0, "max_restarts": 0, "max_task_retries": 0}
        return lambda _kind: SimpleNamespace(remote=self._hire)

    def _hire(self, *_: Any) -> Any:
        self.hired += 1
        number = self.hired

        def send(*what: Any) -> Any:
            return _ToCome(worker=number, what=what)

        return SimpleNamespace(number=number, ready=SimpleNamespace(remote=send), write=SimpleNamespace(remote=send))

    def wait(self, answers: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        busy = Counter(answer.worker for answer in answers)
        assert max(busy.values()) == 1 and num_returns == 1 and timeout < 1
        done = [self.draw.choice(answers)] if self.draw.random() > 0.2 else []
        return done, [answer for answer in answers if answer not in done]

    def get(self, answer: Any) -> Any:
        if self.draw.random() < self.deaths:
            raise self.RayError(f"worker {answer.worker} died")
        return answer.what[0] if answer.what else 1

    def kill(self, worker: Any) -> None:
        self.dead.add(worker.number)


def unlucky_fleet(monkeypatch: pytest.MonkeyPatch, ray: Unlucky, **options: Any) -> Any:
    from scotd import fleet

    monkeypatch.setattr(fleet, "_ray", lambda: ray)
    monkeypatch.setattr(fleet, "on_disk", lambda files, *_: files)
    monkeypatch.setattr(fleet, "load_tokenizer", lambda _files: None)
    files: Any = None
    return fleet.Fleet(files, RayConfig(workers=3, cpus=0.5), precision="float32", device="cpu", **options)


@pytest.mark.parametrize("seed", range(40))
def test_every_block_comes_once_in_whatever_order_workers_answer_and_die(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    ray = Unlucky(draw, deaths=draw.choice([0, 0.1, 0.4]))
    sampling = SamplingParams()
    blocks = [(number, Block(prompts=((number,),), seeds=((number,),), sampling=sampling)) for number in range(25)]
    pulled: list[int] = []

    def pulls() -> Iterator[Any]:
        for name, block in blocks:
            pulled.append(name)
            yield name, block

    found: list[int] = []
    with unlucky_fleet(monkeypatch, ray) as fleet:
        try:
            for name, block in fleet.write(pulls()):
                assert block.prompts == ((name,),), "its own chains"
                found.append(name)
                assert len(pulled) <= len(found) + 3, "no more than one block a worker was sent"
        except RunError as error:
            assert ray.deaths and "3 workers died" in str(error)
        else:
            assert sorted(found) == pulled == list(range(25))
            assert list(fleet.write([])) == []
        assert len(found) == len(set(found))
    assert len(ray.dead) == ray.hired, "nobody is left behind"


def test_a_fleet_that_is_told_to_leave_gives_no_more_and_ends_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Unlucky(random.Random(0), deaths=0)
    block = Block(prompts=((1,),), seeds=((1,),), sampling=SamplingParams())
    found: list[int] = []
    with unlucky_fleet(monkeypatch, ray, left=lambda: len(found) >= 4) as fleet:
        for name, _ in fleet.write((number, block) for number in range(1000)):
            found.append(name)
    assert len(found) == 4 and len(ray.dead) == ray.hired == 3


@pytest.mark.parametrize(
    ("config", "workers", "cpus"),
    [(RayConfig(), 1, 4), (RayConfig(workers=2), 2, 2), (RayConfig(cpus=1), 1, 1), (RayConfig(workers=3), 3, 1)],
)
def test_workers_share_the_cores_of_the_machines_that_are_there(config: RayConfig, workers: int, cpus: float) -> None:
    from scotd.fleet import _crew

    crew = _crew(Unlucky(random.Random(0), 0), config)
    assert (crew.workers, crew.cpus, crew.gpus) == (workers, cpus, 0)


def test_workers_that_do_not_fit_are_refused_in_one_sentence() -> None:
    from scotd.fleet import _crew

    ray = Unlucky(random.Random(0), 0)
    with pytest.raises(ConfigError, match=r"workers: 9 workers with 1 CPUs each do not fit .* 4 CPUs on 1 machines"):
        _crew(ray, RayConfig(workers=9, cpus=1))
    with pytest.raises(
        ConfigError, match=r"workers: 1 workers with 1 GPUs each do not fit .* 0 GPUs on 1 machines, 0 do"
    ):
        _crew(ray, RayConfig(workers=1, gpus=1))


@pytest.mark.slow
def test_ctrl_c_stops_within_seconds_keeps_what_came_and_leaves_no_process(folder: Path, tmp_path: Path) -> None:
    import json

    import tiny_experiment

    path = tiny_experiment.write(tmp_path / "tiny", folder, {"scotd": {"target": "scotd"}})
    settings = json.loads(path.read_text())
    settings |= {
        "engine": "ray",
        "ray": {"workers": 2, "cpus": 0.5},
        "teacher": {"kind": "local", "model": str(folder), "batch_chains": 8, "precision": "float32", "device": "cpu"},
        "sampling": {"chains_per_question": 4000, "max_tokens": 60},
    }
    path.write_text(json.dumps(settings))
    corpus = tmp_path / "tiny" / "run" / "corpus.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-m", "scotd.cli", "sample", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 900
        while _chains_in(corpus) < 24:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        started = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        assert len(started) > 4
        asked_to_stop = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130 and time.monotonic() - asked_to_stop < 20
    finally:
        process.kill()
    assert "what is under way is left" in said and said.rstrip().endswith("goes on from there.")
    assert _none_left(started)
    with Corpus.open(corpus) as opened:
        assert opened.unaccounted() == []
        held = list(opened.chains())
    assert 24 <= len(held) == len({chain.id for chain in held})


def _chains_in(corpus: Path) -> int:
    import sqlite3

    if not corpus.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{corpus}?mode=ro", uri=True) as reader:
            return int(reader.execute("SELECT count(*) FROM chains").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # the table is not there yet


def _none_left(started: list[int]) -> bool:
    """Whether all of these processes are gone, within some seconds."""
    for _ in range(50):
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in started):
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_students_answer_on_ray_as_they_do_here(tmp_path: Path, tokenizer_folder: Path) -> None:
    import tiny_experiment

    from scotd.config import load
    from scotd.experiment import run

    student = tiny_experiment.write_student(tmp_path / "student", tokenizer_folder)
    answers = []
    for name, overrides in (("here", []), ("ray", ["engine=ray", "ray={workers: 2, cpus: 0.5}"])):
        path = tiny_experiment.write(tmp_path / name, student, {"base": {"target": "undistilled"}})
        run(load(path, overrides), say=lambda _: None, progress=silent)
        files = sorted((tmp_path / name / "run" / "predictions").glob("*.jsonl"))
        assert len(files) == 2
        answers.append({file.name: file.read_text() for file in files})
    assert answers[0] == answers[1], "the same blocks in the same company: the same bits"
    assert workers() == []


def test_vllm_is_asked_for_each_chain_with_its_seed_and_read_as_our_own_engine_is(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """A stand-in with the names of vLLM's documents; vLLM itself was never run."""
    asked: list[Any] = []
    texts = iter([" Yes.\n\nQ: an", " No.", " Well</s>", " Hm"])

    class LLM:
        def __init__(self, **options: Any) -> None:
            self.options = options

        def get_tokenizer(self) -> Any:
            return tokenizer

        def generate(self, prompts: Any, params: Any, use_tqdm: bool) -> list[Any]:
            asked.extend(zip(prompts, params, strict=True))
            return [SimpleNamespace(outputs=[self._drawn(next(texts))]) for _ in prompts]

        def _drawn(self, text: str) -> Any:
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            ended = text.endswith("</s>") or "\n\n" in text
            return SimpleNamespace(
                token_ids=tuple(tokens),
                logprobs=[{token: SimpleNamespace(logprob=-0.5)} for token in tokens],
                finish_reason="stop" if ended else "length",
                stop_reason="\n\n" if "\n\n" in text else None,
            )

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=LLM, SamplingParams=SimpleNamespace))
    from scotd.vllm_writer import VllmWriter

    sampling = SamplingParams(temperature=0.7, top_k=5, min_p=0.1, max_tokens=12, stop=("\n\n",))
    block = Block(prompts=((5, 6), (7,)), seeds=((1, 2, 3), (4,)), sampling=sampling)
    found = VllmWriter(resolve(str(folder)), "bfloat16").complete(block, ())
    assert [[chain.text for chain in group] for group in found] == [[" Yes.", " No.", " Well"], [" Hm"]]
    assert [chain.finish.value for group in found for chain in group] == ["stop", "length", "stop", "length"]
    assert all(chain.mean_logprob == -0.5 for group in found for chain in group)
    assert [prompt["prompt_token_ids"] for prompt, _ in asked] == [[5, 6], [5, 6], [5, 6], [7]]
    assert [params.seed for _, params in asked] == [1, 2, 3, 4]
    assert {(p.temperature, p.top_k, p.min_p, p.max_tokens, p.logprobs) for _, p in asked} == {(0.7, 5, 0.1, 12, 0)}
    assert not any(hasattr(p, "n") for _, p in asked)
