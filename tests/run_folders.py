"""Run folders for the tests of the report, written without running anything; every text in them is made up here.

make_run     a small but complete run with a corpus: four students, three splits, a vote
make_sweep   a run with a sweep over N and three seeds, contrast pairs and votes
three_way    one split with given answers
Seen         what an HTML parser sees of a page
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from scotd.config import load
from scotd.corpus import Corpus
from scotd.types import Chain, Choice, Finish, Prompt, Question, SamplingParams
from scotd.vote import vote

LABELS = ("pleased", "not pleased", "not said")
ASPECTS = ("speed", "food", "price", "staff", "view")
REMARKS = (
    "The soup came cold, but nobody let us sit without a smile.",
    "Forty minutes for a sandwich: they must have baked the bread first.",
    "I would pay twice as much for that terrace.",
    "Nothing to complain about at the desk; the bed is another story.",
    "We laughed a lot with the waiter, and the bill made us stop.",
)
SAMPLED = SamplingParams(temperature=1.0, max_tokens=64, stop=("\n\n",))
GREEDY = SamplingParams(temperature=0.0, max_tokens=64, stop=("\n\n",))
TEACHER = "local:big-teacher"
EXPERIMENT: dict[str, Any] = {
    "name": "first-light",
    "questions": {"task": "feedback", "train": "train"},
    "teacher": {"kind": "local", "model": "big-teacher"},
    "sampling": {"chains_per_question": 8, "max_tokens": 64},
    "student": "small-student-135m",
    "students": {
        "scotd": {"target": "scotd"},
        "greedy-cot": {"target": "greedy-cot"},
        "label-only": {"target": "label-only", "decodings": ["greedy"]},
        "undistilled": {"target": "undistilled", "decodings": ["greedy"]},
    },
    "evaluation": {
        "splits": ["test", "contrast", "unseen"],
        "decodings": {"greedy": {}, "vote": {"votes": 5, "temperature": 0.7, "splits": ["test"]}},
        "baseline": "label-only",
    },
}
SKILL = {"scotd": 0.74, "greedy-cot": 0.66, "label-only": 0.56, "undistilled": 0.3}


def question(split: str, number: int, **changes: Any) -> Question:
    gold = LABELS[number % 3]
    stem = f"{REMARKS[number % 5]} Was the guest pleased with the {ASPECTS[(number + number // 5) % 5]}?"
    made = Question(
        id=f"{split}-{number}",
        task="feedback",
        split=split,
        stem=stem,
        choices=tuple(Choice(label=label, text=label) for label in LABELS),
        gold=gold,
        pair=f"test-{number}" if split == "contrast" else None,
    )
    return replace(made, **changes)


def rationale(asked: Question, answer: str) -> str:
    aspect = asked.stem.rpartition(" ")[2].rstrip("?")
    reasons = {
        "pleased": f"The guest speaks well of the {aspect}.",
        "not pleased": f"The remark about the {aspect} is ironic, so it is a complaint.",
        "not said": f"The guest talks about something else, and says nothing about the {aspect}.",
    }
    return f" {reasons.get(answer, 'So be it.')} So the answer is {answer}."


def prediction(asked: Question, answers: list[str | None], decoding: str) -> dict[str, Any]:
    """A row of a predictions file; the answer is that of most chains, the first in the alphabet among the tied."""
    tally: dict[str, int] = {}
    for answer in answers:
        if answer is not None:
            tally[answer] = tally.get(answer, 0) + 1
    best = [label for label in sorted(tally) if tally[label] == max(tally.values())]
    final = best[0] if best else None
    return {
        "question_key": asked.key,
        "gold": asked.gold,
        "answer": final,
        "reason": None if final is not None else "cut off",
        "correct": asked.gold is not None and final == asked.gold,
        "tally": tally,
        "tied": len(best) > 1,
        "decoding": decoding,
        "chains": [
            {
                "text": rationale(asked, answer) if answer is not None else " The guest speaks of the",
                "finish": "stop" if answer is not None else "length",
                "n_tokens": 20,
                "mean_logprob": -0.5,
                "answer": answer,
            }
            for answer in answers
        ],
    }


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_predictions(folder: Path, student: str, split: str, decoding: str, rows: list[dict[str, Any]]) -> None:
    path = folder / "predictions" / f"{student}.{split}.{decoding}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def chains_of(asked: Question, texts: list[str], sampling: SamplingParams = SAMPLED) -> list[Chain]:
    return [
        Chain(
            question_key=asked.key,
            prompt_id=Prompt(text="a prompt").id,
            teacher=TEACHER,
            sampling=sampling,
            index=index,
            text=text,
            finish=Finish.STOP,
            n_tokens=20,
        )
        for index, text in enumerate(texts)
    ]


def write_corpus(path: Path, questions: list[Question], chains: list[Chain]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Corpus.open(path) as corpus:
        corpus.add_questions(questions)
        corpus.add_prompts([Prompt(text="a prompt")])
        corpus.add_chains(chains)


def make_run(folder: Path, *, n: int = 60, experiment: Mapping[str, Any] = EXPERIMENT) -> Path:
    """Write a whole run of four students on three splits of `n` questions, with a corpus in the folder."""
    dice = random.Random(7)
    write_json(folder / "experiment.json", {**experiment, "corpus": str(folder / "corpus.sqlite")})
    train = [question("train", number) for number in range(40)]
    evaluated = {split: [question(split, number) for number in range(n)] for split in ("test", "contrast", "unseen")}

    def answer(asked: Question, skill: float) -> str | None:
        if dice.random() < 0.05:
            return None
        return asked.gold if dice.random() < skill else dice.choice(LABELS)

    chains = []
    for asked in train:
        drawn = [answer(asked, 0.5) for _ in range(8)]
        chains += chains_of(asked, [rationale(asked, a) if a else " The guest speaks of the" for a in drawn])
        chains += chains_of(asked, [rationale(asked, answer(asked, 0.7) or "pleased")], GREEDY)
    write_corpus(folder / "corpus.sqlite", [*train, *(q for split in evaluated.values() for q in split)], chains)
    for split, questions in evaluated.items():
        for student, skill in SKILL.items():
            lower = skill - (0.1 if split == "contrast" else 0)
            rows = [prediction(asked, [answer(asked, lower)], "greedy") for asked in questions]
            write_predictions(folder, student, split, "greedy", rows)
    for student in ("scotd", "greedy-cot"):
        rows = [prediction(q, [answer(q, SKILL[student]) for _ in range(5)], "vote") for q in evaluated["test"]]
        write_predictions(folder, student, "test", "vote", rows)
    write_facts(folder)
    return folder


def write_facts(folder: Path) -> None:
    """Write the counts of a run: funnel, selections, stages, versions."""
    sampled = {"sampling": "temperature 1, N=8", "asked": 320, "received": 318, "parsed": 301, "correct": 205}
    greedy = {"sampling": "greedy, N=1", "asked": 40, "received": 40, "parsed": 39, "correct": 31}
    write_json(
        folder / "funnel.json",
        {
            "teacher": {"name": TEACHER},
            "rows": [
                {
                    **sampled,
                    "finish": {"stop": 306, "length": 12},
                    "unparsed": {"cut off": 12, "empty": 3, "several answers": 2},
                },
                {**greedy, "finish": {"stop": 40}, "unparsed": {"empty": 1}},
            ],
            "requests": {"ok": 41, "failed": 2, "failures": {"HTTP 500": 2}, "unaccounted": 0, "lost": 3, "unsaid": 0},
            "trained": {"scotd": 205, "greedy-cot": 31, "label-only": 40},
        },
    )
    dropped = {"wrong": 96, "unparsed: cut off": 12, "unparsed: no answer given": 5}
    write_json(
        folder / "selections" / "scotd.json", {"name": "correct", "kept": 205, "dropped": dropped, "questions": 39}
    )
    write_json(
        folder / "selections" / "greedy-cot.json",
        {"name": "correct", "kept": 31, "dropped": {"wrong": 8, "unparsed: cut off": 1}, "questions": 31},
    )
    stages = [
        ("sample", "", 96.4, 6800, {"asked": 32, "received": 32}, False),
        ("select", "scotd", 0.3, None, {"kept": 205}, False),
        ("train", "scotd", 143.0, 61000, {"steps": 48}, False),
        ("train", "greedy-cot", 38.2, 9200, {"steps": 9}, False),
        ("train", "label-only", 21.7, 8100, {"steps": 9}, True),
        ("evaluate", "scotd", 88.0, 9600, {}, False),
        ("evaluate", "label-only", 9.1, 900, {}, False),
    ]
    names = ("stage", "name", "seconds", "tokens", "counts", "skipped")
    write_json(folder / "stages.json", [dict(zip(names, stage, strict=True)) for stage in stages])
    write_json(
        folder / "run.json",
        {
            "scotd": "0.1.0",
            "versions": {"python": "3.11.9", "torch": "2.8.0"},
            "git": {"commit": "0123abcd", "dirty": False},
            "seeds": {"sampling": 0, "training": 0},
            "machine": {"cores": 2, "memory_gib": 24},
            "started": "2025-01-01T10:00:00",
            "finished": "2025-01-01T10:09:30",
        },
    )


def three_way(folder: Path, outcomes: Mapping[str, Sequence[str | None]], **evaluation: Any) -> Path:
    """Write a run of one split whose golds are all "pleased"; `outcomes` gives each student's answers."""
    students = {name: {"target": name} for name in outcomes}
    settings = {"splits": ["test"], "baseline": None, **evaluation}
    write_json(folder / "experiment.json", {**EXPERIMENT, "students": students, "evaluation": settings})
    for name, given in outcomes.items():
        rows = [
            prediction(question("test", number, gold="pleased"), [answer], "greedy")
            for number, answer in enumerate(given)
        ]
        write_predictions(folder, name, "test", "greedy", rows)
    return folder


SWEPT: dict[str, Any] = {
    "name": "swept",
    "questions": {"task": "feedback", "train": "train"},
    "teacher": {"kind": "local", "model": "big-teacher"},
    "sampling": {"chains_per_question": 8, "max_tokens": 64},
    "student": "small-student-135m",
    "students": {
        "scotd": {"target": "scotd", "sweep": {"chains_per_question": [1, 2, 4, 8]}},
        "label-only": {"target": "label-only"},
        "undistilled": {"target": "undistilled", "decodings": ["greedy"]},
    },
    "seeds": [0, 1, 2],
    "evaluation": {
        "splits": ["test", "contrast"],
        "decodings": {"greedy": {}, "vote": {"votes": 10, "temperature": 0.7, "splits": ["test"]}},
        "baseline": "label-only",
    },
}


def make_sweep(folder: Path, *, n: int = 60, experiment: Mapping[str, Any] = SWEPT, seed: int = 7) -> Path:
    """Write a run of students whose skill rises with N, each seed a little off; answers of a vote are those of vote.py.

    Some questions are easier than others, for every student alike, and so for the pairs of test and contrast.
    """
    file = folder / "experiment.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**experiment, "run_folder": str(folder), "corpus": str(folder / "corpus.sqlite")}))
    resolved = load(file)
    write_json(folder / "experiment.json", resolved.model_dump(mode="json"))
    train = [question("train", number) for number in range(40)]
    asked = {split: [question(split, number) for number in range(n)] for split in resolved.evaluation.splits}
    write_corpus(
        folder / "corpus.sqlite",
        [*train, *(one for questions in asked.values() for one in questions)],
        [chain for one in train[:10] for chain in chains_of(one, [rationale(one, one.gold or "")] * 8)],
    )
    dice = random.Random(seed)
    easy = [dice.uniform(-0.25, 0.25) for _ in range(n)]

    def answer(one: Question, skill: float) -> str | None:
        draw = dice.random()
        return None if draw < 0.03 else one.gold if draw < skill else dice.choice(LABELS)

    for name, student in resolved.students.items():
        chains = student.chains_per_question or 0
        skill = {"scotd": 0.42 + 0.08 * chains.bit_length(), "label-only": 0.5, "undistilled": 0.25}[
            student.target.value
        ]
        skill += dice.uniform(-0.05, 0.05)
        for key, decoding in resolved.evaluation.decodings.items():
            for split in decoding.splits or resolved.evaluation.splits:
                if student.decodings is not None and key not in student.decodings:
                    continue
                lower = skill - (0.1 if split == "contrast" else 0)
                rows = []
                for one, ease in zip(asked[split], easy, strict=True):
                    drawn = [answer(one, lower + ease) for _ in range(decoding.votes)]
                    rows.append({**prediction(one, drawn, key), "answer": vote(drawn, one.key).answer})
                write_predictions(folder, name, split, key, rows)
    write_facts(folder)
    return folder


VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
    "path",
    "use",
}


@dataclass
class Seen:
    """What an HTML parser saw of a page."""

    tags: list[str]
    attributes: list[tuple[str, str, str | None]]
    text: str
    unbalanced: list[str]

    @classmethod
    def of(cls, page: str) -> "Seen":
        reader = _Reader()
        reader.feed(page)
        reader.close()
        return cls(reader.tags, reader.attributes, "".join(reader.pieces), reader.unbalanced + reader.stack)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.pieces: list[str] = []
        self.stack: list[str] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.stack and self.stack[-1] == tag:
            self.stack.pop()
        else:
            self.unbalanced.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
