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

import torch

from scotd.answers import parse
from scotd.asking import Asking
from scotd.config import QuestionsConfig
from scotd.device import compute_dtype, pick_device
from scotd.models import resolve
from scotd.prompts import student_prompt, target_text
from scotd.score import score
from scotd.stats import paired_counts
from scotd.student import load
from scotd.tasks import load_questions
from scotd.tokens import encode_prompt, encode_target
from scotd.types import Finish, Question

BORROWED = 200  # questions with another one's chain


def main(run: Path, student: str, split: str) -> None:
    folder = run / "students" / student
    templates = Asking.read(folder).templates
    device = pick_device()
    loaded = load(resolve(str(folder)), dtype=torch.float32, device=device)
    experiment = json.loads((run / "experiment.json").read_text(encoding="utf-8"))
    questions = {one.key: one for one in load_questions(QuestionsConfig(**experiment["questions"]))}
    lines = (run / "predictions" / f"{student}.{split}.greedy.jsonl").read_text(encoding="utf-8").splitlines()
    told = {row["question_key"]: row for row in map(json.loads, lines)}

    def targets(question: Question, rationale: str) -> list[list[int]]:
        texts = [target_text(question, rationale, choice.label, templates) for choice in question.choices]
        return [encode_target(loaded.tokenizer, text, finished=False) for text in texts]

    def likeliest(rationales: dict[str, str]) -> dict[str, str]:
        """By question the label with which its prompt and a rationale go on best."""
        asked = [questions[key] for key in rationales]
        prompts = [encode_prompt(loaded.tokenizer, student_prompt(question, templates)) for question in asked]
        ends = [targets(question, rationale) for question, rationale in zip(asked, rationales.values(), strict=True)]
        with torch.autocast(device.type, compute_dtype("auto", device)):
            found = score(loaded.model, list(zip(prompts, ends, strict=True)))
        labels = [[choice.label for choice in question.choices] for question in asked]
        best = [max(zip(map(sum, nats), names, strict=True))[1] for nats, names in zip(found, labels, strict=True)]
        return dict(zip(rationales, best, strict=True))

    at_once = likeliest(dict.fromkeys(told, ""))
    both, only_chain, only_at_once, _ = paired_counts(
        {key: row["correct"] for key, row in told.items()}, {key: at_once[key] == told[key]["gold"] for key in told}
    )
    print(
        f"{len(told)} questions of '{split}': right with the chain {both + only_chain}, at once {both + only_at_once}"
    )
    print(f"only with the chain {only_chain}, only at once {only_at_once}")

    wrote = {key: row["chains"][0] for key, row in told.items() if row["answer"]}
    parsed = {key: parse(chain["text"], questions[key], Finish(chain["finish"])) for key, chain in wrote.items()}
    own = {key: found.rationale for key, found in parsed.items() if found.rationale}
    draw = random.Random(0)
    lenders = {
        key: draw.choice([other for other in own if told[other]["answer"] != told[key]["answer"]])
        for key in draw.sample(list(own), min(BORROWED, len(own)))
    }
    said = likeliest({key: own[lender] for key, lender in lenders.items()})
    follows = sum(said[key] == told[lender]["answer"] for key, lender in lenders.items())
    print(
        f"with another question's chain, of another answer, it says what that chain says: {follows} of {len(lenders)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
