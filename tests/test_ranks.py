"""`scotd run` as several processes: the students of one process, resumed as if it had not been killed, one writer."""

import json
import os
import socket
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tiny_experiment
import torch
from conftest import MakeModel
from safetensors.torch import load_file

from scotd.corpus import Corpus
from scotd.errors import ConfigError

HERE = Path(__file__).parent
STUDENTS = {"scotd": {"target": "scotd", "training": {"epochs": 6, "evaluations": 6}, "decodings": ["greedy"]}}


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run(
        [*launcher, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=900
    )


def experiment(folder: Path, student: Path) -> Path:
    return tiny_experiment.write(folder, student, STUDENTS)


def student_of(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    path = folder / "run" / "students" / "scotd"
    return load_file(path / "model.safetensors"), json.loads((path / "scotd_training.json").read_text())


@pytest.mark.slow
def test_two_processes_train_the_student_of_one_and_a_killed_run_goes_on(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    student = tiny_experiment.write_student(tmp_path / "student", tokenizer_folder)
    program = str(HERE / "tiny_experiment.py")
    one, two, killed = (experiment(tmp_path / name, student) for name in ("one", "two", "killed"))

    alone = subprocess.run([sys.executable, program, str(one), str(tmp_path / "one.log")], check=False, timeout=900)
    assert alone.returncode == 0
    done = torchrun(program, str(two), str(tmp_path / "two.log"))
    assert done.returncode == 0, done.stderr
    expected, record = student_of(tmp_path / "one")
    found, together = student_of(tmp_path / "two")
    start = load_file(student / "model.safetensors")
    assert (record["processes"], together["processes"]) == (1, 2)
    assert together["losses"] == pytest.approx(record["losses"], rel=1e-2)  # float64 and to the digit: test_train.py
    assert together["dev"].keys() == record["dev"].keys() and len(record["losses"]) > 8
    apart = sum((found[name] - expected[name]).abs().sum().item() for name in expected)
    moved = sum((start[name] - expected[name]).abs().sum().item() for name in expected)
    assert apart < 0.05 * moved
    asked = tiny_experiment.asked(tmp_path / "two.log")
    assert asked == tiny_experiment.asked(tmp_path / "one.log"), "the first process alone asks the teacher"
    assert done.stdout.count("scotd          test") == 1, "and says what came out"
    with Corpus.open(tmp_path / "two" / "run" / "corpus.sqlite") as corpus:
        assert len(list(corpus.chains())) == len(asked)

    broken = torchrun(program, str(killed), str(tmp_path / "killed.log"), "train:7")
    assert broken.returncode != 0 and list((tmp_path / "killed").glob("run/students/*.checkpoints/*/checkpoint-*"))
    resumed = torchrun(program, str(killed), str(tmp_path / "killed.log"))
    assert resumed.returncode == 0, resumed.stderr
    again, _ = student_of(tmp_path / "killed")
    assert all(torch.equal(again[name], value) for name, value in found.items())


def test_other_commands_are_refused_in_several_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "RANK": "1", "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "scotd.cli", "sample", str(tmp_path / "none.yaml")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: scotd sample: started 2 times over by torchrun or accelerate launch")
    assert done.stderr.count("\n") == 1


def test_sharding_that_would_not_happen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from scotd.experiment.ranks import leading

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="shards a model over GPUs only"), leading():
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="add --fsdp_version 2"), leading():
        pass


SHARDED = """
import sys, time
import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard

from scotd.forward import ATTENTION, attention_of, head_is_plain, tree_loss
from scotd.layers import lean_forwards, lean_layers
from scotd.sharded import is_sharded, whole

spec = torch.load(sys.argv[1], weights_only=False)
batches = spec["batches"]
weight = sum(batch.weights.sum() for batch in batches)
distributed.init_process_group("gloo")


def shard(model):
    fully_shard(model.model.layers[0].mlp.down_proj)  # by itself, as a wrapping by size may have it
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    assert is_sharded(model)


def gradients(model, narrow):
    plain, forwards = head_is_plain(model), lean_forwards(model)
    assert len(forwards) == 20
    shard(model)
    with attention_of(model, ATTENTION), lean_layers(forwards):
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            share = tree_loss(model, batches[distributed.get_rank()], plain_head=plain, inner=model)
        (share / weight * distributed.get_world_size()).backward()
    return {name: one.grad.full_tensor() for name, one in model.named_parameters()}


found = {name: gradients(spec[name], name == "narrow") for name in ("exact", "narrow")}
held = whole(spec["exact"])
if distributed.get_rank() == 0:
    torch.save({**found, "weights": held.state_dict()}, sys.argv[2])
distributed.barrier()  # nobody leaves while another is at work
distributed.destroy_process_group()
time.sleep(1)  # gloo's threads give their last tensors back, which aborts the process while the interpreter ends
"""


def test_a_sharded_models_gradient_is_that_of_one_process_and_it_is_put_together_whole(
    make_model: MakeModel, tmp_path: Path
) -> None:
    from test_train import some_examples

    from scotd.forward import ATTENTION, attention_of, head_is_plain, tree_loss
    from scotd.layers import lean_forwards, lean_layers
    from scotd.tree import collate, pack

    model = make_model("llama").double()
    rows = [pack(example.prompt, example.branches) for example in some_examples()]
    batches = [collate(rows[:5]), collate(rows[5:])]  # uneven: 16 chains and 12
    torch.save({"exact": model, "narrow": deepcopy(model).float(), "batches": batches}, tmp_path / "spec.pt")
    (tmp_path / "sharded.py").write_text(SHARDED)
    done = torchrun(str(tmp_path / "sharded.py"), str(tmp_path / "spec.pt"), str(tmp_path / "out.pt"))
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "out.pt")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    plain = head_is_plain(model)
    with attention_of(model, ATTENTION), lean_layers(lean_forwards(model)):
        loss = tree_loss(model, collate(rows), plain_head=plain)
    (loss / sum(batch.weights.sum() for batch in batches)).backward()
    exact, narrow = found["exact"], found["narrow"]
    assert exact.keys() == narrow.keys() == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-8
        torch.testing.assert_close(exact[name], parameter.grad, rtol=0, atol=1e-12, msg=name)
        assert (narrow[name] - parameter.grad).norm() < 0.03 * parameter.grad.norm(), name
    assert found["weights"].keys() == weights.keys()
    assert all(torch.equal(found["weights"][name], value) for name, value in weights.items())
