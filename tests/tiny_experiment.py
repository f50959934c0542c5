"""A whole experiment that runs in seconds: own questions, a teacher in memory, a tiny student in a folder.

    python tiny_experiment.py EXPERIMENT.yaml LOG [KILL]

is `scotd run EXPERIMENT.yaml --until evaluate` with that teacher, which writes every ask to LOG before it answers. KILL
ends the process by SIGKILL: "sample:5" at the fifth ask, "train:3" after the third optimizer step, "evaluate:2" after
the second batch of predictions is stored.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from scotd.teachers import Ask, Outcome
from scotd.types import Completion, Finish, Usage

TEACHER = "scripted"
SPLITS = {"train": 6, "dev": 4, "test": 7}
STUDENTS: dict[str, dict[str, Any]] = {
    "scotd": {"target": "scotd"},
    "labels": {"target": "label-only", "training": {"epochs": 40, "learning_rate": 0.01}},
    "base": {"target": "undistilled", "decodings": ["greedy"]},
}


def settings(folder: Path, student: Path, students: dict[str, dict[str, Any]] = STUDENTS) -> dict[str, Any]:
    """The experiment as it stands in its file; everything lies in `folder`, the student's weights elsewhere."""
    return {
        "name": "tiny",
        "run_folder": str(folder / "run"),
        "questions": {
            "task": "odd",
            "files": {split: str(folder / f"{split}.jsonl") for split in SPLITS},
            "columns": {"question": "stem", "answer": "answer", "id": "id"},
            "labels": ["yes", "no"],
        },
        "prompt": {"exemplars": str(folder / "exemplars.yaml")},
        "teacher": {"kind": "openai", "model": "none", "name": TEACHER},
        "sampling": {"chains_per_question": 4, "max_tokens": 40},
        "student": str(student),
        "students": students,
        "training": {"learning_rate": 0.01, "batch_chains": 4, "evaluations": 2, "precision": "float32"},
        "evaluation": {
            "max_tokens": 30,
            "batch_chains": 6,
            "decodings": {"greedy": {}, "vote": {"votes": 3, "temperature": 0.7}},
        },
    }


def write(folder: Path, student: Path, students: dict[str, dict[str, Any]] = STUDENTS) -> Path:
    """Write questions, exemplars and the experiment file (JSON is YAML); returns the latter."""
    folder.mkdir(exist_ok=True)
    number = 0
    for split, count in SPLITS.items():
        rows = []
        for _ in range(count):
            number += 1
            row: dict[str, Any] = {"id": f"n{number:02}", "stem": f"Is {number} odd?"}
            if (split, number) != ("train", 6):  # one without a label
                row["answer"] = "yes" if number % 2 else "no"
            rows.append(json.dumps(row) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(rows))
    shown = [(101, "yes", "101 ends in 1"), (102, "no", "102 ends in 2")]
    exemplars = [
        {"stem": f"Is {n} odd?", "choices": ["yes", "no"], "answer": answer, "rationale": f"{why}."}
        for n, answer, why in shown
    ]
    (folder / "exemplars.yaml").write_text(json.dumps(exemplars))
    path = folder / "experiment.yaml"
    path.write_text(json.dumps(settings(folder, student, students), indent=1))
    return path


def write_student(folder: Path, tokenizer_folder: Path) -> Path:
    """Save a tiny random student with the test tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(
        **sizes, num_attention_heads=4, num_key_value_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=0
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # as in conftest.py
    model.save_pretrained(folder)
    for path in tokenizer_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


class Scripted:
    """Every fourth chain is wrong, every sixth has no answer, the second is cut off after its answer."""

    name, batch, max_n = TEACHER, 2, None

    def __init__(self, log: Path, kill_at: int | None = None) -> None:
        self.log, self.kill_at = log, kill_at

    def complete(self, asks: Iterator[Ask]) -> Iterator[Outcome]:
        for count, ask in enumerate(asks, start=1):
            with self.log.open("a") as file:
                file.write(json.dumps([ask.question_key, ask.sampling.temperature, ask.indices]) + "\n")
            if count == self.kill_at:
                time.sleep(0.3)  # what arrived before is committed within 50 ms
                os.kill(os.getpid(), signal.SIGKILL)
            yield Outcome(
                ask=ask,
                completions=tuple(self._answer(ask, index) for index in ask.indices),
                usage=Usage(prompt_tokens=50, completion_tokens=9 * len(ask.indices)),
            )

    def _answer(self, ask: Ask, index: int) -> Completion:
        number = int(ask.question_key.partition("/n")[2])
        right, wrong = ("yes", "no") if number % 2 else ("no", "yes")
        draw = number + 7 * index
        text = f" It ends in {number % 10}{'!' * index}. So the answer is {wrong if draw % 4 == 3 else right}."
        if draw % 6 == 5:
            text = " Hm."
        return Completion(
            text=text, finish=Finish.LENGTH if index == 1 else Finish.STOP, n_tokens=9, mean_logprob=-0.5 - index
        )


def asked(log: Path) -> list[tuple[str, float, int]]:
    """Every chain that was asked for, in order: question, temperature, sample index."""
    if not log.exists():
        return []
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [(key, float(temperature), index) for key, temperature, indices in rows for index in indices]


def main(path: str, log: str, kill: str = "") -> None:
    from scotd import train
    from scotd.cli import main as command
    from scotd.corpus import Corpus

    where, _, number = kill.partition(":")
    count = int(number or 0)
    steps, put = train._Watch.on_step_end, Corpus.put_predictions

    def on_step_end(self: Any, *args: Any, **kwargs: Any) -> None:
        steps(self, *args, **kwargs)
        _die_at_zero("train")

    def put_predictions(self: Any, *args: Any) -> None:
        put(self, *args)
        _die_at_zero("evaluate")

    def _die_at_zero(stage: str) -> None:
        nonlocal count
        count -= stage == where
        if stage == where and count == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    teacher = Scripted(Path(log), count if where == "sample" else None)
    with (
        patch("scotd.experiment.run.build_teacher", lambda *_, **__: teacher),
        patch.object(train._Watch, "on_step_end", on_step_end),
        patch.object(Corpus, "put_predictions", put_predictions),
        patch.object(sys, "argv", ["scotd", "run", path, "--until", "evaluate"]),
    ):
        command()


if __name__ == "__main__":
    main(*sys.argv[1:])
