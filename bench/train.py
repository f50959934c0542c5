"""Training: ours against TRL's SFTTrainer, the same chains, SmolLM2-135M, batch of 32 chains (30 of them at N = 30).

    python bench/train.py                # or: make bench BENCH=train
    python bench/train.py --only compiled        # both through torch.compile, which takes TRL minutes
    python bench/train.py --only rows            # rows of 1, 2, 4 of a question's 8 chains
    python bench/train.py --trl padded           # TRL as it comes: shuffled chains, padded to the longest
    python bench/train.py --trl grouped          # TRL with its group_by_length: batches of chains of one length
    python bench/train.py --trl padding-free     # TRL with its padding_free: a batch is one long row
    python bench/train.py --chains mine.parquet  # your own, 8 a question: what `scotd corpus export` wrote
    python bench/train.py --curves       # over chains a question, prompt length and vocabulary

Equality comes first: in float32 the first step's loss and gradient norm of both sides, which is the same mean over the
same tokens. TRL runs as its users would run it here: prompts and completions tokenised beforehand, loss on completions,
no activation checkpointing, bfloat16 autocast over float32 weights (as ours), its fused head; with its packing unless
`--trl` says otherwise: rows of up to 512 tokens, 6 of them a step, its fastest way here that keeps chains shuffled. In
`compiled` both go through torch.compile, once: TRL compiles for minutes, which are not counted. Both sides keep big
blocks of memory (`device.keep_memory`) and use the same optimizer. A step's time is everything between two steps' ends:
data, forward, backward, clipping, update. The sides take turns step by step: on a shared machine the rate of either
moves by a fifth within an hour.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from harness import Clock, Found, ask, emit, note, peak_gib, step_by_step, worker

BATCH = 32
SORTED = 50  # batches that transformers' group_by_length sorts, or that TRL packs, at a time
REORDERED = ("grouped", "packed")  # TRL's steps then differ on purpose, and from ours
ROW, ROWS = 512, 6  # tokens a packed row, and such rows a step, one after the other: some 32 chains
SCRIPT = str(Path(__file__))
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FEW, MANY = EXPERIMENTS / "feedback-chains.parquet", EXPERIMENTS / "feedback-30-chains.parquet"  # 8 and 30 a question


def random_questions(chains: int, steps: int, *, prompt: int, chain: int) -> list[Any]:
    """Random tokens in the lengths of a real task: prompts and chains vary by a third around their mean. Nothing is
    shared but the prompt."""
    draw = random.Random(0)

    def tokens(mean: int) -> list[int]:
        return [draw.randrange(1000, 49_000) for _ in range(draw.randint(mean * 2 // 3, mean * 4 // 3))]

    return [[tokens(prompt), [tokens(chain) for _ in range(chains)]] for _ in range(steps * (BATCH // chains))]


def batch_of(questions: list[Any]) -> int:
    """Chains a step: whole questions, at most 32 chains."""
    chains = len(questions[0][1])
    return chains * (BATCH // chains)


def teacher_questions(chains: int, steps: int, file: Path | None = None) -> list[Any]:
    """A teacher's chains with their questions as a student gets them: what a teacher really repeats."""
    from transformers import AutoTokenizer

    from scotd.config import PromptConfig
    from scotd.corpus import Corpus
    from scotd.corpus.exchange import import_parquet
    from scotd.models import resolve
    from scotd.prompts import Templates, student_prompt
    from scotd.tokens import encode_prompt, encode_target
    from scotd.types import Finish

    path = file or (FEW if chains <= 8 else MANY)
    files = resolve("smollm2-135m-instruct")
    tokenizer: Any = AutoTokenizer.from_pretrained(files.pretrained, gguf_file=files.gguf_file)
    templates = Templates.of(PromptConfig())
    targets: dict[str, list[list[int]]] = {}
    with tempfile.TemporaryDirectory() as folder, Corpus.open(Path(folder) / "corpus.sqlite") as corpus:
        import_parquet(corpus, path)
        questions = {question.key: question for question in corpus.questions()}
        for chain in corpus.chains():
            if chain.sampling.temperature > 0:
                tokens = encode_target(tokenizer, chain.text, finished=chain.finish is not Finish.LENGTH)
                targets.setdefault(chain.question_key, []).append(tokens)
    per_step = BATCH // chains
    whole = [key for key, held in targets.items() if len(held) >= chains][: steps * per_step]
    whole = whole[: len(whole) // per_step * per_step]
    if len(whole) < 3 * per_step:
        sys.exit(f"{path}: {len(whole)} questions have {chains} sampled chains; three steps need {3 * per_step}.")
    return [
        [encode_prompt(tokenizer, student_prompt(questions[key], templates)), targets[key][:chains]] for key in whole
    ]


# ---- sides ----------------------------------------------------------------------------------------------------------


def ours(spec: Any) -> Found:
    import torch

    from scotd.config import TrainingConfig
    from scotd.device import keep_memory, pick_device
    from scotd.models import resolve
    from scotd.student import load
    from scotd.token_store import TokenExample
    from scotd.train import train
    from scotd.tree import Branch

    keep_memory()
    torch.manual_seed(0)
    loaded = load(resolve("smollm2-135m-instruct"), dtype=torch.float32, device=pick_device())
    questions = spec["questions"]
    if spec["trl"] in REORDERED:
        wanted = spec["steps"] * (BATCH // len(questions[0][1]))
        questions = questions[:: max(1, len(questions) // wanted)][:wanted]
    examples = [
        TokenExample(prompt=tuple(prompt), branches=tuple(Branch(tokens=tuple(chain)) for chain in chains))
        for prompt, chains in questions
    ]
    config = TrainingConfig(
        batch_chains=batch_of(spec["questions"]),
        branches_per_row=spec["rows"],
        learning_rate=1e-5,
        warmup_ratio=0,
        schedule="constant_with_warmup",
        evaluations=0,
        checkpoints=0,
        compile=spec["compile"],
    )
    clock = Clock()
    logs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, recording(logs):
        train(
            loaded,
            examples,
            config,
            folder=Path(folder),
            dtype=torch.bfloat16 if spec["bf16"] else torch.float32,
            on_step=clock.tick,
        )
    return findings(clock, logs)


def trl(spec: Any) -> Found:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from scotd.device import keep_memory, pick_device
    from scotd.models import resolve
    from scotd.student import load

    keep_memory()
    torch.manual_seed(0)
    loaded = load(resolve("smollm2-135m-instruct"), dtype=torch.float32, device=pick_device())
    rows = [
        {"input_ids": [*prompt, *chain], "completion_mask": [0] * len(prompt) + [1] * len(chain)}
        for prompt, chains in spec["questions"]
        for chain in chains
    ]
    if spec["shuffled"]:
        random.Random(0).shuffle(rows)
    if spec["trl"] == "grouped":
        rows = by_length(rows, batch_of(spec["questions"]), spec["steps"])
    packed = spec["trl"] == "packed"
    batch, passes = batch_of(spec["questions"]), 1
    if packed:  # the check of equality is one step of all rows, however many they are
        batch, passes = 1, ROWS if spec["shuffled"] else len(rows)
    clock = Clock()
    logs: list[dict[str, float]] = []

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as folder, recording(logs):
        arguments = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=passes,
            num_train_epochs=1,
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            max_length=ROW if packed else None,
            packing=packed,
            completion_only_loss=True,
            activation_checkpointing=False,
            padding_free=spec["trl"] == "padding-free",
            torch_compile=spec["compile"],
            bf16=spec["bf16"],
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = SFTTrainer(
            model=loaded.model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=loaded.tokenizer,
            callbacks=[Steps()],
        )
        data: Any = trainer.train_dataset
        if packed and spec["shuffled"]:
            data = trainer.train_dataset = data.shuffle(seed=0).select(range(spec["steps"] * ROWS))
        with patch.object(trainer, "_get_train_sampler", lambda *_: torch.utils.data.SequentialSampler(data)):
            trainer.train()
    found = findings(clock, logs)
    if packed:
        held = [len(lengths) for lengths in data["seq_lengths"]]
        found["chains"] = [sum(held[start : start + ROWS]) for start in range(2 * ROWS, len(held), ROWS)]
    return found


def by_length(rows: list[Any], batch: int, steps: int) -> list[Any]:
    """What transformers' group_by_length makes of `SORTED` batches: chains of like length in each.

    The longest twice, to warm up, then from short to long as many of them as there are steps to measure.
    """
    rows = sorted(rows, key=lambda row: len(row["input_ids"]))
    batches = [rows[start : start + batch] for start in range(0, len(rows) - batch + 1, batch)]
    counted = steps - 2
    chosen = [batches[-1]] * 2 + [
        batches[(2 * number + 1) * len(batches) // (2 * counted)] for number in range(counted)
    ]
    return [row for one in chosen for row in one]


def recording(logs: list[dict[str, float]]) -> Any:
    """Collects what a Trainer logs at each step."""
    from transformers import Trainer

    before = Trainer.log

    def log(trainer: Any, values: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in values:
            logs.append(dict(values))
        before(trainer, values, *args, **kwargs)

    return patch.object(Trainer, "log", log)


def findings(clock: Clock, logs: list[dict[str, float]]) -> Found:
    """The first two steps warm caches and allocator up; the optimizer's state appears in the first."""
    return {
        "seconds": clock.seconds[2:] or clock.seconds,
        "loss": float(logs[0]["loss"]),
        "gradient": float(logs[0]["grad_norm"]),
        "peak_gib": peak_gib(),
    }


# ---- benchmarks -----------------------------------------------------------------------------------------------------


def check_equal(questions: list[Any], rows: int, way: str) -> float:
    """One step of both in float32 on the same chains; returns the greater of the two relative differences."""
    spec = {"questions": questions, "rows": rows, "bf16": False, "shuffled": False, "compile": False, "steps": 1}
    spec["trl"] = "padded" if way == "grouped" else way
    found = {side: ask(SCRIPT, side, spec) for side in ("ours", "trl")}
    difference = max(abs(float(found["ours"][key]) / float(found["trl"][key]) - 1) for key in ("loss", "gradient"))
    if difference > 1e-3:
        sys.exit(f"Ours and TRL's first step differ by {difference:.1e}: {found}. Nothing was measured.")
    return difference


def compare(name: str, questions: list[Any], steps: int, way: str) -> None:
    """`rows_K` in a name: rows of K of a question's chains, which lie in different steps; else a row holds them all.

    The ratio is the median over pairs of steps, ours and TRL's next to each other in time. Where TRL's steps differ on
    purpose, grouped by length or packed, it is that of all chains by all seconds.
    """
    chains, reordered = len(questions[0][1]), way in REORDERED
    if reordered and len(questions) < steps * (BATCH // chains):
        sys.exit(f"{name}: {len(questions)} questions make less than {steps} steps: choose fewer --steps.")
    longest = max(len(prompt) + len(chain) for prompt, held in questions for chain in held)
    if way == "packed" and longest > ROW:
        sys.exit(f"{name}: a chain with its question has {longest} tokens; packing cuts them at {ROW}: --trl padded.")
    rows = int(name.rpartition("rows_")[2]) if "rows_" in name else chains
    difference = check_equal(questions[: BATCH // chains], rows, way)
    spec = {"name": name, "questions": questions, "rows": rows, "bf16": True, "shuffled": True}
    spec |= {"compile": "compiled" in name, "trl": way, "steps": steps}
    note(f"{name}: ours and trl in turns")
    found = step_by_step(SCRIPT, ["ours", "trl"], spec)
    seconds: dict[str, list[float]] = {side: one["seconds"] for side, one in found.items()}
    ratios = sorted(theirs / own for own, theirs in zip(seconds["ours"], seconds["trl"], strict=True))
    measured: Found
    if reordered:
        batch = [batch_of(questions)] * len(ratios)
        rates = {side: sum(one.get("chains", batch)) / sum(one["seconds"]) for side, one in found.items()}
        measured = {"ratio": round(rates["ours"] / rates["trl"], 2)}
    else:
        rates = {side: batch_of(questions) / median(times) for side, times in seconds.items()}
        measured = {"ratio": round(median(ratios), 2), "ratios": [round(ratio, 2) for ratio in ratios]}
    emit(
        name if way == "packed" else f"{name}_trl_{way.replace('-', '_')}",
        **measured,
        chains_a_second={side: round(rate, 2) for side, rate in rates.items()},
        peak_gib={side: one["peak_gib"] for side, one in found.items()},
        memory_ratio=round(float(found["ours"]["peak_gib"]) / float(found["trl"]["peak_gib"]), 2),
        difference=difference,
        chains=chains,
        prompt=round(sum(len(prompt) for prompt, _ in questions) / len(questions), 1),
        chain=round(sum(len(one) for _, many in questions for one in many) / len(questions) / chains, 1),
    )


def compare_losses(name: str, vocabulary: int, times: int) -> None:
    """The head's product and loss of 720 states, forward and backward: in chunks against whole logits."""
    import torch

    from scotd.device import keep_memory
    from scotd.forward import CACHED_BYTES, ChunkedLoss, rows_within

    keep_memory()
    torch.manual_seed(0)
    states = torch.randn(720, 576).requires_grad_()
    head = (torch.randn(vocabulary, 576) / 24).requires_grad_()
    targets = torch.randint(vocabulary, (720,))

    def whole(dtype: torch.dtype) -> torch.Tensor:
        logits = torch.nn.functional.linear(states.to(dtype), head.to(dtype)).float()
        return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")

    def chunked(dtype: torch.dtype) -> torch.Tensor:
        terms = torch.arange(720), targets, torch.ones(720)
        found: torch.Tensor = ChunkedLoss.apply(
            states.to(dtype), head, None, *terms, rows_within(vocabulary, CACHED_BYTES)
        )
        return found

    def gradient(way: Callable[[torch.dtype], torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
        head.grad = states.grad = None
        way(dtype).backward()
        return torch.as_tensor(head.grad)

    expected, found = gradient(whole, torch.float32), gradient(chunked, torch.float32)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    if difference > 1e-5:
        sys.exit(f"{name}: gradients differ by {difference:.1e}. Nothing was measured.")
    seconds: dict[str, list[float]] = {"ours": [], "whole": []}
    for number in range(times + 1):
        for side, way in (("ours", chunked), ("whole", whole)):
            started = time.perf_counter()
            gradient(way, torch.bfloat16)
            if number > 0:
                seconds[side].append(time.perf_counter() - started)
    medians = {side: round(median(held), 4) for side, held in seconds.items()}
    emit(
        name,
        ratio=round(medians["whole"] / medians["ours"], 2),
        seconds=medians,
        times=times,
        difference=difference,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", choices=["ours", "trl"], help="be the worker of one side")
    parser.add_argument("--only", help="part of a benchmark's name")
    parser.add_argument(
        "--chains", type=Path, metavar="FILE", help="your own in place of ours, 8 a question, as Parquet"
    )
    parser.add_argument(
        "--trl", choices=["padded", *REORDERED, "padding-free"], default="packed", help="how TRL batches"
    )
    parser.add_argument("--curves", action="store_true", help="over chains a question, prompt length and vocabulary")
    parser.add_argument("--steps", type=int, default=7, help="of each side, in turns; the first two warm up")
    given = parser.parse_args()
    if given.side:
        worker({"ours": ours, "trl": trl}, given.side)
        return
    random_ones = partial(random_questions, prompt=40, chain=45)
    benchmarks: dict[str, Callable[[int], list[Any]]] = {
        "train_8_branches": partial(random_ones, 8),
        "train_30_branches": partial(random_ones, 30),
        "train_1_branch": partial(random_ones, 1),
        "train_teacher_8_branches": partial(teacher_questions, 8),
        "train_teacher_30_branches": partial(teacher_questions, 30),
    }
    if given.only:  # what is measured when it is asked for
        benchmarks["train_8_branches_compiled"] = benchmarks["train_8_branches"]
        for rows in (1, 2, 4):
            benchmarks[f"train_teacher_8_rows_{rows}"] = benchmarks["train_teacher_8_branches"]
    if given.curves:
        benchmarks = {f"train_curve_chains_{chains}": partial(random_ones, chains) for chains in (2, 4, 16)}
        benchmarks |= {  # 1, 8 and 30 chains and a prompt of 40 are among the benchmarks
            f"train_curve_prompt_{length}": partial(random_questions, 8, prompt=length, chain=45)
            for length in (20, 80, 160)
        }
    if given.chains:
        own = partial(teacher_questions, 8, file=given.chains)
        names = ["branches", *(f"rows_{rows}" for rows in (1, 2, 4) if given.only)]
        benchmarks = {f"train_own_8_{name}": own for name in names}
    for name, questions in benchmarks.items():
        if given.only is None or given.only == name or (given.only in name and given.only not in benchmarks):
            note(f"{name}: equality first")
            steps = max(9, given.steps) if "compiled" in name else given.steps
            compare(name, questions(SORTED if given.trl in REORDERED else steps), steps, given.trl)
    if given.curves:
        for vocabulary in (32_000, 49_152, 151_936):
            name = f"train_curve_vocabulary_{vocabulary}"
            if given.only is None or given.only in name:
                compare_losses(name, vocabulary, 9)


if __name__ == "__main__":
    main()
