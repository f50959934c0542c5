"""Does a student's letter agree with the choice that its own answer names?

    python experiments/named_choice.py runs/csqa_size chains-smollm2-135m-instruct-seed0 dev

Of the greedy answers to questions with lettered choices: how many name a choice by its text before the letter (the last
one that they name, as whole words), how often the letter is that choice's, and how many would be right by either.
"""

import json
import re
import sys
from pathlib import Path

from scotd.answers import parse
from scotd.config import QuestionsConfig
from scotd.tasks import load_questions
from scotd.types import Finish, Question


def main(run: Path, student: str, split: str) -> None:
    experiment = json.loads((run / "experiment.json").read_text(encoding="utf-8"))
    questions = {one.key: one for one in load_questions(QuestionsConfig(**experiment["questions"]))}
    lines = (run / "predictions" / f"{student}.{split}.greedy.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    named = {row["question_key"]: last_named(questions[row["question_key"]], row["chains"][0]) for row in rows}
    telling = [row for row in rows if named[row["question_key"]] is not None]
    agreeing = sum(named[row["question_key"]] == row["answer"] for row in telling)
    by_name = sum(named[row["question_key"]] == row["gold"] for row in telling)
    by_letter = sum(row["correct"] for row in telling)
    print(f"{len(telling)} of {len(rows)} answers name a choice; the letter is that choice's in {agreeing}")
    print(f"of these right by the choice named: {by_name}, by the letter: {by_letter}")


def last_named(question: Question, chain: dict[str, str]) -> str | None:
    """The label of the choice whose text stands last before the answer, the longest where several end there; None where
    there is none, or two have one text."""
    text = parse(chain["text"], question, Finish(chain["finish"])).rationale or chain["text"]
    ends: dict[str, tuple[int, int]] = {}
    for choice in question.choices:
        for found in re.finditer(rf"(?<!\w){re.escape(choice.text)}(?!\w)", text, re.IGNORECASE):
            ends[choice.label] = found.end(), len(choice.text)
    last = [label for label, end in ends.items() if end == max(ends.values())]
    return last[0] if len(last) == 1 else None


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
