"""What decides a student's answer: the question, or the chain that it wrote?

    python experiments/without_chain.py runs/sst2 scotd test

Of a run's student with a fixed label set, on the questions that it answered greedily there: how many it would have
right if it had to answer at once ("So the answer is ..." right after the prompt, the likelier of the labels), and how
often it answers what the chain of another question says, put in the place of its own.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scotd.config import PromptConfig, QuestionsConfig
from scotd.device import compute_dtype, pick_device
from scotd.prompts import Templates, student_prompt
from scotd.score import score
from scotd.tasks import load_questions
from scotd.tokens import encode_prompt

BORROWED = 200  # questions with another one's chain


def main(run: Path, student: str, split: str) -> None:
    folder = run / "students" / student
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    device = pick_device()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to(device).eval()
    experiment = json.loads((run / "experiment.json").read_text(encoding="utf-8"))
    questions = {one.key: one for one in load_questions(QuestionsConfig(**experiment["questions"]))}
    lines = (run / "predictions" / f"{student}.{split}.greedy.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    labels = [choice.label for choice in questions[told[0]["question_key"]].choices]
    ends = [f" So the answer is {label}." for label in labels]
    templates = Templates.of(PromptConfig(**experiment["prompt"]))
    prompts = [encode_prompt(tokenizer, student_prompt(questions[one["question_key"]], templates)) for one in told]

    def likeliest(chains: list[tuple[int, str]]) -> list[str]:
        """The label with which a question's number and a rationale go on best."""
        asked = [
            (prompts[number], [tokenizer.encode(rationale + end, add_special_tokens=False) for end in ends])
            for number, rationale in chains
        ]
        with torch.autocast(device.type, compute_dtype("auto", device)):
            found = score(model, asked)
        return [max(zip(map(sum, scores), labels, strict=True))[1] for scores in found]

    right = [one["correct"] for one in told]
    at_once = likeliest([(number, "") for number in range(len(told))])
    direct = [answer == one["gold"] for answer, one in zip(at_once, told, strict=True)]
    print(f"{len(told)} questions of '{split}': right with the chain {sum(right)}, at once {sum(direct)}")
    print(
        f"only with the chain {sum(a and not b for a, b in zip(right, direct, strict=True))}, "
        f"only at once {sum(b and not a for a, b in zip(right, direct, strict=True))}"
    )
    rationales = {
        number: text[: text.rfind(" So the answer is")]
        for number, one in enumerate(told)
        if one["answer"] and " So the answer is" in (text := one["chains"][0]["text"])
    }
    draw = random.Random(0)
    borrowed: list[tuple[int, str]] = []
    expected: list[str] = []
    for number in draw.sample(sorted(rationales), min(BORROWED, len(rationales))):
        other = draw.choice([one for one in rationales if told[one]["answer"] != told[number]["answer"]])
        borrowed.append((number, rationales[other]))
        expected.append(told[other]["answer"])
    follows = sum(answer == said for answer, said in zip(likeliest(borrowed), expected, strict=True))
    print(
        f"with another question's chain, of another answer, it says what that chain says: {follows} of {len(borrowed)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
