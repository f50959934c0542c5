"""How a student was trained to be asked, written down beside it: so that it can be asked the same way ever after.

    record |= Asking.of(experiment, "scotd", plan.train).to_json()      # into scotd_training.json, when it is saved
    asking = Asking.read(Path("runs/x/students/scotd"))                 # when it is asked
    question = asking.question("Where do you go to borrow a book?", ["bank", "library"])
    student_prompt(question, asking.templates)

Keys in scotd_training.json: `task`, `prompt` (what of the experiment file's section concerns a student), `choices`
({"words": bool, "labels": [...] or null}), `columns` (the section, or null for a built-in task), `max_tokens` (the
cap that the student was evaluated with), `max_stem_words` (after how many words its questions were cut, or null) and
`exemplars` (how many stood before each question; only 0 can be asked a bare one).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scotd.config import ColumnsConfig, Experiment, PromptConfig
from scotd.errors import DataError, ModelError
from scotd.prompts import Templates
from scotd.tasks.choices import checked, label_set, lettered
from scotd.tasks.content import content_id
from scotd.tasks.cut import shortened
from scotd.types import Choice, Question

RECORD = "scotd_training.json"  # `student.TRAINING_FILE`, known without torch
KEYS = ("task", "prompt", "choices", "columns", "max_tokens")
SPLIT = "asked"
# Of the prompt section; the teacher's part, with a path of the machine it ran on, is no business of the student's.
_OF_A_STUDENT = ("student", "target", "label_target", "student_chat")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """`words`: answers are words ("yes"), not letters in front of a text. `labels`: those that the training questions
    shared, longest list where questions had fewer choices; None where they differ."""

    task: str
    prompt: PromptConfig
    words: bool
    labels: tuple[str, ...] | None
    columns: ColumnsConfig | None
    max_tokens: int
    max_stem_words: int | None = None
    exemplars: int = 0

    @classmethod
    def of(cls, experiment: Experiment, student: str, questions: Sequence[Question]) -> "Asking":
        """From an experiment, one of its students, and the questions that it was trained on."""
        lists = {tuple(choice.label for choice in question.choices) for question in questions}
        longest = max(lists, key=lambda labels: (len(labels), labels), default=())
        words = all(question.has_label_set for question in questions)
        shared = lists == {longest} if words else all(longest[: len(labels)] == labels for labels in lists)
        return cls(
            task=experiment.questions.task,
            prompt=PromptConfig(**{name: getattr(experiment.prompt, name) for name in _OF_A_STUDENT}),
            words=words,
            labels=longest if shared and longest else None,
            columns=experiment.questions.columns,
            max_tokens=experiment.students[student].max_tokens or experiment.evaluation.max_tokens,
            max_stem_words=experiment.questions.max_stem_words,
            exemplars=experiment.students[student].exemplars,
        )

    def to_json(self) -> dict[str, object]:
        return {
            "task": self.task,
            "prompt": self.prompt.model_dump(mode="json", include=set(_OF_A_STUDENT)),
            "choices": {"words": self.words, "labels": None if self.labels is None else list(self.labels)},
            "columns": None if self.columns is None else self.columns.model_dump(mode="json"),
            "max_tokens": self.max_tokens,
            "max_stem_words": self.max_stem_words,
            "exemplars": self.exemplars,
        }

    @classmethod
    def read(cls, folder: Path) -> "Asking":
        """From a student's folder. Raises ModelError where it is none, or does not say how it was asked."""
        path = record_of(folder)
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = [key for key in KEYS if key not in record]
            if missing:
                raise ModelError(
                    f"{path}: does not say how the student was asked ({', '.join(missing)}): it was trained by an "
                    "earlier scotd; train it again."
                )
            if record.get("exemplars"):
                raise ModelError(
                    f"{folder}: this student was trained with {record['exemplars']} exemplars before each question; a "
                    f"bare one is none it knows: `scotd run` evaluates it on the tasks of an experiment."
                )
            labels = record["choices"]["labels"]
            return cls(
                task=record["task"],
                prompt=PromptConfig.model_validate(record["prompt"]),
                words=bool(record["choices"]["words"]),
                labels=None if labels is None else tuple(labels),
                columns=None if record["columns"] is None else ColumnsConfig.model_validate(record["columns"]),
                max_tokens=int(record["max_tokens"]),
                max_stem_words=record.get("max_stem_words"),  # students from before questions could be cut have none
            )
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{path}: cannot be used ({problem}): train the student again.") from None

    @cached_property
    def templates(self) -> Templates:
        return Templates.of(self.prompt)

    def choices(self, texts: Sequence[str] | None) -> tuple[Choice, ...]:
        """Choices in the form that the student knows. Without texts they are the labels of its training.

        Raises DataError where these differed from question to question, or were texts behind letters.
        """
        where = "--choices"
        if texts is None:
            if not self.words or self.labels is None:
                raise DataError(
                    "this student was trained on questions with choices of their own: give them, "
                    'for instance --choices "bank|library|bakery".'
                )
            return label_set(self.labels)
        if self.words:
            return checked(label_set(texts), where)
        if self.labels is not None and len(texts) <= len(self.labels):
            pairs = zip(self.labels, texts, strict=False)
            return checked(tuple(Choice(label=label, text=text) for label, text in pairs), where)
        return checked(lettered(texts), where)

    def as_trained(self, questions: Sequence[Question]) -> list[Question]:
        """The questions as long as the student knows them: cut where those of its training were."""
        return list(questions) if self.max_stem_words is None else shortened(questions, self.max_stem_words)

    def question(self, stem: str, texts: Sequence[str] | None) -> Question:
        """One question from a person, without a label. Raises DataError for what is none."""
        if not stem.strip():
            raise DataError("the question is empty: write one.")
        choices = self.choices(texts)
        return Question(
            id=content_id("q", stem.strip(), choices),
            task=self.task,
            split=SPLIT,
            stem=stem.strip(),
            choices=choices,
            gold=None,
        )


def record_of(folder: Path) -> Path:
    """The record in a student's folder. Raises ModelError where it is none."""
    if not (folder / RECORD).is_file():
        raise ModelError(_no_student(folder))
    return folder / RECORD


def _no_student(folder: Path) -> str:
    """The sentence for a folder that is no student."""
    if not folder.exists():
        return f"{folder}: no such folder. Give a student's, runs/NAME/students/STUDENT."
    inside = sorted(path.parent.name for path in (folder / "students").glob(f"*/{RECORD}"))
    if inside:
        named = ", ".join(str(folder / "students" / name) for name in inside)
        return f"{folder} is a run folder: give one of its students, {named}."
    if (folder / "students").is_dir() or (folder / "experiment.json").is_file():
        return f"{folder} is a run folder without a finished student: `scotd run` goes on with its training."
    return f"{folder} is not a student that `scotd run` trained: it holds no {RECORD}."
