"""Training: the plan visits every chain once, every layout of the same step is the same update, resuming is exact."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import END, KINDS, VOCABULARY, MakeModel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tree import separate_loss

from scotd.config import LoraConfig, TrainingConfig
from scotd.device import pick_device
from scotd.errors import DataError, ModelError
from scotd.lora import adapt
from scotd.models import resolve
from scotd.student import Loaded, load, save
from scotd.token_store import TokenExample, TokenStore, tokenize
from scotd.train import MicroBatch, MicroBatches, TreeTrainer, plan, steps_in, train
from scotd.tree import Branch
from scotd.types import Prompt, TrainingExample

RANKS = Path(__file__).with_name("ranks.py")
TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=END)
Weights = dict[str, torch.Tensor]


def config(**changes: Any) -> TrainingConfig:
    """Few big steps, nothing saved, no warm-up."""
    quiet: dict[str, Any] = {"learning_rate": 1e-2, "warmup_ratio": 0, "evaluations": 0, "checkpoints": 0, "seed": 3}
    return TrainingConfig(**{**quiet, **changes})


def some_examples(counts: Sequence[int] = (4, 4, 3, 4, 1, 4, 4, 4)) -> list[TokenExample]:
    """Uneven rows: prompts of 2 to 8 tokens, branches of 1 to 9, weights of several sizes."""
    draw = random.Random(0)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(2, VOCABULARY) for _ in range(draw.randint(least, most)))

    return [
        TokenExample(
            prompt=tokens(2, 8),
            branches=tuple(Branch(tokens=(*tokens(0, 8), END), weight=draw.choice([0.5, 1, 2])) for _ in range(count)),
        )
        for count in counts
    ]


def run(model: Any, examples: Sequence[TokenExample], how: TrainingConfig, folder: Path, **options: Any) -> Any:
    """Train in place on float32 arithmetic (float64 where the model is); returns what came of it."""
    options = {"dtype": torch.float32, "on_step": lambda *_: None, **options}
    return train(Loaded(model=model, tokenizer=TOKENIZER, dropouts={}), examples, how, folder=folder, **options)


def weights(model: Any) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_bits(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def history(folder: Path, key: str) -> list[float]:
    """A number that Trainer logged at every step, from the last checkpoint."""
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    log = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in log if key in entry]


# ---- the plan ------------------------------------------------------------------------------------------------------

PLANS = st.builds(
    TrainingConfig,
    epochs=st.integers(1, 3),
    batch_chains=st.integers(1, 12),
    branches_per_row=st.integers(1, 5),
    seed=st.integers(0, 5),
)


def chains_of(step: Sequence[MicroBatch]) -> list[tuple[int, int]]:
    return [
        (piece.example, branch) for batch in step for piece in batch if not piece.empty for branch in piece.branches
    ]


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=8), how=PLANS, micro_batches=st.integers(1, 7))
def test_every_chain_is_visited_once_an_epoch_in_full_steps(
    counts: list[int], how: TrainingConfig, micro_batches: int
) -> None:
    steps = list(plan(counts, how, micro_batches))
    assert len(steps) == steps_in(counts, how)
    everything = Counter((example, branch) for example, count in enumerate(counts) for branch in range(count))
    per_epoch = -(-sum(counts) // how.batch_chains)
    assert len(steps) == how.epochs * per_epoch
    for epoch in range(how.epochs):
        of_epoch = steps[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert Counter(chain for step in of_epoch for chain in chains_of(step)) == everything
        assert all(len(chains_of(step)) == how.batch_chains for step in of_epoch[:-1])
    for step in steps:
        assert len(step) == micro_batches
        for batch in step:
            assert batch and all(1 <= len(piece.branches) <= how.branches_per_row for piece in batch)
            assert len(batch) == 1 or not any(piece.empty for piece in batch)
            assert all(branch < counts[piece.example] for piece in batch for branch in piece.branches)


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=8), how=PLANS, micro_batches=st.integers(2, 7))
def test_what_a_step_sees_does_not_depend_on_its_micro_batches(
    counts: list[int], how: TrainingConfig, micro_batches: int
) -> None:
    one, many = list(plan(counts, how, 1)), list(plan(counts, how, micro_batches))
    assert [Counter(chains_of(step)) for step in one] == [Counter(chains_of(step)) for step in many]
    fullest = [max(sum(len(piece.branches) for piece in batch if not piece.empty) for batch in step) for step in many]
    for step, most in zip(many, fullest, strict=True):
        assert most <= len(chains_of(step)) / micro_batches + how.branches_per_row  # dealt out evenly


def test_order_comes_from_the_seed_and_differs_between_epochs() -> None:
    def order(seed: int) -> list[tuple[int, int]]:
        steps = plan([6] * 10, TrainingConfig(epochs=2, branches_per_row=4, seed=seed), 1)
        return [chain for step in steps for chain in chains_of(step)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0)[:60] != order(0)[60:]
    examples = [example for example, _ in order(0)[:60]]
    assert examples != sorted(examples)  # rows are mixed over the questions,
    branches = [branch for example, branch in order(0)[:60] if example == 7]
    assert branches != sorted(branches)  # and chains over the rows of their question


# ---- tokens --------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_start(tokenizer_folder: Path, tmp_path: Path) -> Any:
    """The test tokenizer with a special token in front of every text, as Llama's and OPT's have it."""
    from transformers import AutoTokenizer

    description = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    start = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    description["post_processor"] = {
        "type": "TemplateProcessing",
        "single": start,
        "pair": start,
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    (tmp_path / "tokenizer_config.json").write_text((tokenizer_folder / "tokenizer_config.json").read_text())
    return AutoTokenizer.from_pretrained(tmp_path)


def example(targets: tuple[str, ...], finished: tuple[bool, ...], stem: str = "Q: a?\nA:") -> TrainingExample:
    return TrainingExample(
        question_key="t/1",
        prompt=Prompt(text=stem),
        targets=targets,
        finished=finished,
        weights=tuple(float(n) for n in range(1, len(targets) + 1)),
    )


def test_tokens_are_the_prompts_and_the_targets_apart(with_start: Any) -> None:
    (found,) = tokenize([example((" yes.", " Well, no"), (True, False))], with_start, 50)
    assert found.prompt[0] == 0 and with_start.decode(found.prompt[1:]) == "Q: a?\nA:"
    done, cut_off = (branch.tokens for branch in found.branches)
    assert done[-1] == END and with_start.decode(done[:-1]) == " yes."
    assert 0 not in done and 0 not in cut_off  # no special token opens a target
    assert END not in cut_off and with_start.decode(cut_off) == " Well, no"
    assert [branch.weight for branch in found.branches] == [1.0, 2.0]


def test_chains_that_are_too_long_are_left_out_whole_and_counted(with_start: Any) -> None:
    given_examples = [
        example((" yes.", " " * 60, " no."), (True, True, True)),
        example((" " * 60,), (False,)),
        example((" " * 31,), (False,)),  # 1 + 8 + 31: just fits
    ]
    found = list(tokenize(given_examples, with_start, 40))
    assert [len(one.branches) for one in found] == [2, 1]
    assert [branch.weight for branch in found[0].branches] == [1.0, 3.0]
    assert len(found[1].prompt) + len(found[1].branches[0].tokens) == 40


def test_a_store_gives_back_what_was_put_in_and_leaves_no_file(tmp_path: Path) -> None:
    examples = some_examples()
    store = TokenStore.of(iter(examples), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [store[number] for number in range(len(store))] == examples
    assert store[2:4] == examples[2:4] and list(store.branch_counts) == [4, 4, 3, 4, 1, 4, 4, 4]
    assert not TokenStore.of([], tmp_path)


def test_micro_batches_are_the_plan_read_in_order_from_anywhere(tmp_path: Path) -> None:
    examples, how = some_examples(), config(epochs=2, batch_chains=5, branches_per_row=2)
    data = MicroBatches(TokenStore.of(examples, tmp_path), how, 2)
    whole = [data[index].targets.tolist() for index in range(len(data))]
    steps = plan([len(example.branches) for example in examples], how, 2)
    assert [len(batch) > 0 for step in steps for batch in step] == [True] * len(data)
    assert [data[index].targets.tolist() for index in (3, 4, 11, 2)] == [whole[index] for index in (3, 4, 11, 2)]


# ---- one update, however it is laid out ------------------------------------------------------------------------------


def plain_model(make_model: MakeModel) -> Any:
    """GPT-2 computes in float64 throughout where its weights are float64, so that equal means equal to 1e-9."""
    model = make_model("gpt2").double()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


UNEVEN = {"batch_chains": 11, "branches_per_row": 3, "epochs": 2}  # 28 chains: steps of 11, 11 and 6


def test_loss_and_gradient_of_a_step_are_those_of_separate_sequences(make_model: MakeModel, tmp_path: Path) -> None:
    model, examples = plain_model(make_model), some_examples()
    how = config(batch_chains=28, branches_per_row=3, checkpoints=1, max_grad_norm=1e9)
    rows = [(list(one.prompt), list(one.branches)) for one in examples]
    weight = sum(branch.weight * len(branch.tokens) for _, branches in rows for branch in branches)
    expected = separate_loss(model, rows) / weight
    expected.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    result = run(model, examples, how, tmp_path, accumulation=2)
    assert result.losses == pytest.approx([expected.item()], rel=1e-6)  # Trainer logs float32
    assert history(tmp_path, "grad_norm") == [pytest.approx(norm.item(), rel=1e-9)]
    assert result.steps == 1 and result.chain_visits == 28


def assert_same_update(found: Path, found_weights: Weights, expected: Path, expected_weights: Weights) -> None:
    for key, close in (("loss", 1e-6), ("grad_norm", 1e-9), ("learning_rate", 1e-12)):
        assert history(found, key) == pytest.approx(history(expected, key), rel=close)
    assert len(history(found, "loss")) == 6
    for name, value in expected_weights.items():
        torch.testing.assert_close(found_weights[name], value, rtol=0, atol=1e-9, msg=name)


@pytest.fixture
def one_big_batch(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Weights]:
    model = plain_model(make_model)
    before = weights(model)
    run(model, some_examples(), config(**UNEVEN, checkpoints=1), tmp_path / "one")
    after = weights(model)
    moved = max((after[name] - before[name]).abs().max().item() for name in after)
    assert moved > 1e-2  # the comparisons below are not between weights that stayed where they were
    return tmp_path / "one", after


@pytest.mark.parametrize("accumulation", [3, 8])  # 8: some micro-batches are fillers of weight 0
def test_accumulated_equals_one_big_batch(
    accumulation: int, one_big_batch: tuple[Path, Weights], make_model: MakeModel, tmp_path: Path
) -> None:
    steps = plan([4, 4, 3, 4, 1, 4, 4, 4], config(**UNEVEN), accumulation)
    fillers = sum(piece.empty for step in steps for batch in step for piece in batch)
    assert (fillers > 0) == (accumulation == 8)
    model = plain_model(make_model)
    run(model, some_examples(), config(**UNEVEN, checkpoints=1), tmp_path / "many", accumulation=accumulation)
    assert_same_update(tmp_path / "many", weights(model), *one_big_batch)


def start(spec: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Start `ranks.py` with the threads of this process: another number of them rounds otherwise."""
    return subprocess.Popen(
        [sys.executable, str(RANKS), str(spec)],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait(process: subprocess.Popen[bytes]) -> str:
    """Wait for a process to end; returns what it wrote."""
    output, _ = process.communicate(timeout=900)
    return output.decode()


def test_two_processes_with_three_accumulations_equal_one_big_batch(
    one_big_batch: tuple[Path, Weights], make_model: MakeModel, tmp_path: Path
) -> None:
    spec = {
        "model": plain_model(make_model),
        "tokenizer": TOKENIZER,
        "examples": some_examples(),
        "config": config(**UNEVEN, checkpoints=1),
        "folder": tmp_path / "two",
        "accumulation": 3,
    }
    torch.save(spec, tmp_path / "spec.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [start(tmp_path / "spec.pt", RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(2)]
    for output, process in [(wait(process), process) for process in processes]:
        assert process.returncode == 0, output
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=False) for rank in range(2))
    assert_same_update(tmp_path / "two", first["weights"], *one_big_batch)
    assert_same_bits(second["weights"], first["weights"])
    assert first["result"].chain_visits == 2 * 28


# ---- low-rank adapters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_learn_alone_and_are_merged_into_a_plain_model(
    kind: str, make_model: MakeModel, tmp_path: Path
) -> None:
    model, reference = make_model(kind), make_model(kind)
    merge = adapt(model, LoraConfig(rank=4, alpha=8))
    trained = run(model, some_examples(), config(epochs=2), tmp_path / "lora")
    assert trained.losses[-1] < trained.losses[0]
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        adapted = model.eval()(input_ids=tokens).logits
    plain = merge()
    assert weights(plain).keys() == weights(reference).keys()
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=tokens).logits, adapted, atol=1e-4)
    moved = {name for name, value in weights(reference).items() if not torch.equal(weights(plain)[name], value)}
    assert moved and not any("embed" in name or "norm" in name or "ln_" in name or "wte" in name for name in moved)


def test_training_with_adapters_that_was_killed_and_resumed_equals_training_that_was_not(
    make_model: MakeModel, tmp_path: Path
) -> None:
    def train_some(folder: Path, *, stop_at: int | None) -> Weights:
        torch.manual_seed(0)
        model = make_model("llama")
        torch.manual_seed(1)
        merge = adapt(model, LoraConfig(rank=4))

        def on_step(done: int, *_: object) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        how = config(epochs=3, batch_chains=7, checkpoints=3)
        run(model, some_examples(), how, folder, on_step=on_step)
        return weights(merge())

    whole = train_some(tmp_path / "whole", stop_at=None)
    with pytest.raises(KeyboardInterrupt):
        train_some(tmp_path / "parts", stop_at=7)
    assert list((tmp_path / "parts").glob("checkpoint-*"))
    assert_same_bits(train_some(tmp_path / "parts", stop_at=None), whole)


def test_layers_that_are_not_there_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match=r"training\.lora\.layers: nowhere"):
        adapt(make_model("llama"), LoraConfig(layers=("nowhere",)))


# ---- families, dropout, precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_and_its_folder_opens_elsewhere(
    kind: str, make_model: MakeModel, tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = make_model(kind)
    how = config(epochs=4, batch_chains=8, checkpoints=1, learning_rate=1e-2)
    run(model, some_examples(), how, tmp_path / "checkpoints")
    losses = history(tmp_path / "checkpoints", "loss")
    assert losses[-1] < losses[0] - 0.5
    folder = tmp_path / "student"
    save(model, tokenizer, folder, training={"fingerprint": "x"}, card="# a student\n")
    again = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 9, 40, 41, 7]])
    assert torch.equal(again(ids).logits, model.eval()(ids).logits)
    assert again.config.use_cache
    if kind != "qwen2":  # transformers gives that family its own splitting into words, whatever the file says
        assert AutoTokenizer.from_pretrained(folder)("Q: a?")["input_ids"] == tokenizer("Q: a?")["input_ids"]


@pytest.mark.parametrize("kind", ["opt", "gpt2"])
def test_dropout_is_off_and_recorded(kind: str, make_model: MakeModel, tokenizer_folder: Path, tmp_path: Path) -> None:
    shipped = make_model(kind)
    shipped.save_pretrained(tmp_path / "base")
    for path in tokenizer_folder.iterdir():
        (tmp_path / "base" / path.name).write_bytes(path.read_bytes())
    loaded = load(resolve(str(tmp_path / "base")), dtype=torch.float32, device=torch.device("cpu"))
    assert loaded.dropouts and set(loaded.dropouts.values()) == {0.1}
    ids = torch.tensor([[5, 9, 40, 41, 7]])
    expected = shipped.eval()(ids).logits
    training = loaded.model.train()
    assert torch.equal(training(ids).logits, expected)
    assert not torch.equal(shipped.train()(ids).logits, expected)  # what would have been


def test_bfloat16_computes_and_float32_remembers(make_model: MakeModel, tmp_path: Path) -> None:
    """At a learning rate of 2e-5 an update of bfloat16 weights would round to nothing."""
    model = make_model("llama").to(pick_device())
    before = weights(model)
    run(model, some_examples(), config(learning_rate=2e-5, batch_chains=28), tmp_path, dtype=torch.bfloat16)
    after = weights(model)
    assert {value.dtype for value in after.values()} == {torch.float32}
    changed = [(after[name] - before[name]).abs() for name in after]
    assert max(change.max().item() for change in changed) < 1e-4
    assert sum((change > 0).sum().item() for change in changed) > 0.9 * sum(change[0].numel() for change in changed)
    plain = make_model("llama")
    run(plain, some_examples(), config(learning_rate=2e-5, batch_chains=28), tmp_path / "plain")
    assert any(not torch.equal(value, after[name]) for name, value in weights(plain).items())  # bfloat16 was used


# ---- schedule and clipping -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_activations_computed_twice_change_no_bit(kind: str, make_model: MakeModel, tmp_path: Path) -> None:
    found = []
    for twice in (False, True):
        model = make_model(kind)
        how = config(epochs=1, activation_checkpointing=twice)
        run(model, some_examples(), how, tmp_path / str(twice), dtype=torch.bfloat16)
        assert model.is_activation_checkpointing == twice
        found.append(weights(model))
    assert_same_bits(*found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_train_alike(make_model: MakeModel, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        model = make_model("llama")
        trained = run(model, some_examples(), config(epochs=2, compile=compiled), tmp_path / str(compiled))
        assert not any(module._compiled_call_impl for module in model.modules())  # decoding goes without
        losses.append(trained.losses)
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-5)  # the last one after an update


@pytest.mark.filterwarnings("ignore")
def test_without_a_compiler_compiling_is_refused(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    with pytest.raises(ModelError, match=r"training\.compile: .* C\+\+ compiler"):
        run(make_model("llama"), some_examples(), config(compile=True), tmp_path)


def test_warm_up_and_schedule(make_model: MakeModel, tmp_path: Path) -> None:
    how = config(warmup_ratio=0.5, batch_chains=7, learning_rate=1e-3, epochs=2, checkpoints=1)
    assert run(make_model("llama"), some_examples(), how, tmp_path).steps == 8
    rates = history(tmp_path, "learning_rate")
    assert rates == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4])


def test_gradients_are_clipped(make_model: MakeModel, tmp_path: Path) -> None:
    def moved(max_grad_norm: float) -> float:
        model = make_model("llama")
        before = weights(model)
        run(model, some_examples(), config(batch_chains=28, max_grad_norm=max_grad_norm), tmp_path / "x")
        return max((value - before[name]).abs().max().item() for name, value in weights(model).items())

    assert moved(1.0) == pytest.approx(1e-2, rel=0.1)  # Adam's first step is the learning rate
    assert moved(1e-12) < 1e-4  # gradients far below its epsilon


def test_nothing_is_reported_and_nothing_written_by_default(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    original = TreeTrainer.train

    def spy(trainer: TreeTrainer, *args: Any, **kwargs: Any) -> Any:
        seen.extend(type(callback).__name__ for callback in trainer.callback_handler.callbacks)
        assert trainer.args.report_to == []
        return original(trainer, *args, **kwargs)

    monkeypatch.setattr(TreeTrainer, "train", spy)
    assert TrainingConfig().report_to == ()
    run(make_model("llama"), some_examples(), config(), tmp_path / "checkpoints")
    assert sorted(seen) == ["DefaultFlowCallback", "_Watch"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert capsys.readouterr().out == ""


def test_nothing_to_train_on_and_too_long_are_errors_of_the_user(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No chain is left"):
        run(make_model("llama"), [], config(), tmp_path)
    long = TokenExample(prompt=(5,) * 510, branches=(Branch(tokens=(6, 7, END)),))
    with pytest.raises(ModelError, match=r"512 positions .* takes 513: set training.max_length to 512"):
        run(make_model("gpt2"), [long], config(), tmp_path)


# ---- interrupted equals uninterrupted --------------------------------------------------------------------------------

MANY = {"batch_chains": 7, "epochs": 2, "checkpoints": 3}  # 8 steps, saved after 2, 4, 6 and 8


@pytest.fixture
def uninterrupted(make_model: MakeModel, tmp_path: Path) -> tuple[Any, Weights]:
    model = make_model("llama")
    result = run(model, some_examples(), config(**MANY), tmp_path / "uninterrupted")
    return result, weights(model)


@pytest.mark.parametrize("kill", ["save 2", "rotate"])
def test_killed_and_resumed_equals_uninterrupted(
    kill: str, uninterrupted: tuple[Any, Weights], make_model: MakeModel, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    spec = {
        "model": make_model("llama"),
        "tokenizer": TOKENIZER,
        "examples": some_examples(),
        "config": config(**MANY),
        "folder": folder,
        "accumulation": 1,
        "kill": kill,
    }
    torch.save(spec, tmp_path / "spec.pt")
    killed = start(tmp_path / "spec.pt")
    output = wait(killed)
    assert killed.returncode == -signal.SIGKILL, output
    assert {
        int(path.name.removeprefix("checkpoint-")): (path / "scotd_complete").exists() for path in folder.iterdir()
    } == {2: kill == "save 2", 4: kill == "rotate"}  # the other one is half there, and not marked as whole

    model = make_model("llama")
    steps: list[int] = []

    def stop_at_7(step: int, *_: object) -> None:
        steps.append(step)
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, some_examples(), config(**MANY), folder, on_step=stop_at_7)
    assert steps == list(range(3 if kill == "save 2" else 5, 8))
    model = make_model("llama")
    assert (
        run(model, some_examples(), config(**MANY), folder, on_step=lambda step, *_: steps.append(step))
        == uninterrupted[0]
    )
    assert steps[-2:] == [7, 8]
    assert_same_bits(weights(model), uninterrupted[1])


def test_a_finished_training_is_not_done_again(make_model: MakeModel, tmp_path: Path) -> None:
    """Killed between the last step and the saving of the student."""
    results, found, calls = [], [], []
    for _ in range(2):
        model = make_model("llama")
        results.append(run(model, some_examples(), config(**MANY), tmp_path, on_step=lambda *_: calls.append(1)))
        found.append(weights(model))
    assert len(calls) == 8
    assert results[0] == results[1]
    assert_same_bits(found[1], found[0])


# ---- the best checkpoint on dev --------------------------------------------------------------------------------------


class Dev:
    """A dev metric with given values; remembers the weights it was shown. Ctrl-C comes at the call number `stop`."""

    def __init__(self, values: Sequence[float], stop: int | None = None) -> None:
        self.values, self.stop = list(values), stop
        self.shown: list[Weights] = []

    def __call__(self, model: Any) -> float:
        if len(self.shown) == self.stop:
            raise KeyboardInterrupt
        self.shown.append(weights(model))
        return self.values[len(self.shown) - 1]


DEV = {"batch_chains": 7, "epochs": 2, "evaluations": 4}  # 8 steps, asked after 2, 4, 6 and 8


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.2, 0.5, 0.5, 0.1], 1), ([0.0, 0.0, 0.0, 0.0], 0)],
)
def test_the_best_on_dev_is_what_remains_and_ties_go_to_the_earliest(
    values: list[float], best: int, make_model: MakeModel, tmp_path: Path
) -> None:
    model, dev = make_model("llama"), Dev(values)
    result = run(model, some_examples(), config(**DEV), tmp_path, dev_metric=dev)
    assert result.dev == dict(zip((2, 4, 6, 8), values, strict=True))
    assert result.best_step == 2 * (best + 1)
    assert not torch.equal(*(shown["lm_head.weight"] for shown in (dev.shown[0], dev.shown[-1])))
    assert_same_bits(weights(model), dev.shown[best])


def test_the_best_on_dev_outlives_an_interruption(make_model: MakeModel, tmp_path: Path) -> None:
    model, whole = make_model("llama"), Dev([0.2, 0.6, 0.5, 0.1])
    expected = run(model, some_examples(), config(**DEV), tmp_path / "whole", dev_metric=whole)
    # stopped before the value of step 8 is known: what is left are the checkpoints of the best step and of step 6
    with pytest.raises(KeyboardInterrupt):
        dev_metric = Dev([0.2, 0.6, 0.5], stop=3)
        run(make_model("llama"), some_examples(), config(**DEV), tmp_path / "parts", dev_metric=dev_metric)
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"checkpoint-4", "checkpoint-6"}
    model, rest = make_model("llama"), Dev([0.1])
    assert run(model, some_examples(), config(**DEV), tmp_path / "parts", dev_metric=rest) == expected
    assert_same_bits(rest.shown[0], whole.shown[3])
    assert_same_bits(weights(model), whole.shown[1])


def test_dev_is_asked_at_the_end_too(make_model: MakeModel, tmp_path: Path) -> None:
    dev = Dev([0.1, 0.2, 0.3])
    result = run(make_model("llama"), some_examples(), config(**{**DEV, "evaluations": 3}), tmp_path, dev_metric=dev)
    assert list(result.dev) == [3, 6, 8] and result.best_step == 8


def test_dev_does_not_disturb_the_training(make_model: MakeModel, tmp_path: Path) -> None:
    """A metric that decodes (evaluation mode, another attention) leaves the training as it was."""
    from scotd.decode import Decoder
    from scotd.types import SamplingParams

    tokenizer = SimpleNamespace(eos_token_id=END, decode=lambda tokens, **_: " " * len(tokens))

    def decodes(model: Any) -> float:
        prompts = [[5, 6, 7], [8, 9]]
        assert model.training
        Decoder(model, tokenizer).complete(prompts, [[0], [0]], SamplingParams(temperature=0, max_tokens=3))
        assert model.training
        return float(len(seen.shown)) + seen(model)

    seen, plain = Dev([0.0] * 4), Dev([0.0, 1.0, 2.0, 3.0])
    models: list[Any] = [make_model("llama"), make_model("llama")]
    metrics: list[Callable[[Any], float]] = [decodes, plain]
    for model, metric, name in zip(models, metrics, ("decodes", "plain"), strict=True):
        run(model, some_examples(), config(**DEV), tmp_path / name, dev_metric=metric)
    assert_same_bits(weights(models[0]), weights(models[1]))
