"""The JSONL shape that CommonsenseQA and OpenBookQA share, and finding a benchmark's files in a folder.

    {"id": "1-2", "question": {"stem": "...", "choices": [{"text": "...", "label": "A"}, ...]}, "answerKey": "D"}

Official files are taken as they are: choices that repeat each other and questions that stand in two splits stay, so
that numbers can be compared with published ones, and are counted by `scotd.tasks.notes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scotd.errors import DataError
from scotd.tasks.choices import gold_label
from scotd.tasks.rows import Row, as_text, read_table
from scotd.types import Choice, Question


def find_splits(task: str, folder: Path, names: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Path]]:
    """Yield (split, file) for every split that the folder holds; each name may also end in `.gz`.

    Raises DataError where the folder holds none, or two files for one split.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: `questions.path` is the folder with the official files of {task}.")
    found = False
    for split, candidates in names.items():
        files = [
            folder / (name + end) for name in candidates for end in ("", ".gz") if (folder / (name + end)).exists()
        ]
        if len(files) > 1:
            raise DataError(f"{files[0]}: the split '{split}' is in '{files[1].name}' as well: remove one of the two.")
        if files:
            found = True
            yield split, files[0]
    if not found:
        wanted = ", ".join(candidate for candidates in names.values() for candidate in candidates)
        raise DataError(f"{folder}: no official file of {task} here: expected one of {wanted} (or + .gz).")


def load_answer_key(task: str, folder: Path, names: Mapping[str, Sequence[str]]) -> list[Question]:
    """Load every split of a benchmark in this shape. Raises DataError naming file, row and problem."""
    questions = [
        _question(task, split, row) for split, path in find_splits(task, folder, names) for row in read_table(path).rows
    ]
    refuse_repeated_ids(questions, folder)
    return questions


def refuse_repeated_ids(questions: Sequence[Question], folder: Path) -> None:
    """Raise DataError where two questions of a benchmark have one id."""
    seen: dict[str, Question] = {}
    for question in questions:
        first = seen.setdefault(question.id, question)
        if first is not question:
            raise DataError(
                f"{folder}: the id '{question.id}' is in '{first.split}' and again in '{question.split}': "
                "official files have each id once, fetch them anew."
            )


def _question(task: str, split: str, row: Row) -> Question:
    body = row.values.get("question")
    entries = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(entries, list):
        raise DataError(f'{row.where}: no "question" with "stem" and "choices": this is not the format of {task}.')
    stem = as_text(body.get("stem"), "stem", row.where)
    identity = row.text("id")
    if stem is None or identity is None:
        raise DataError(
            f"{row.where}: the {'id' if identity is None else 'stem'} is empty: fill it in or remove the row."
        )
    choices = tuple(_choice(entry, row.where) for entry in entries)
    if len({choice.label for choice in choices}) < max(2, len(choices)):
        raise DataError(f"{row.where}: fewer than two choices, or a label twice: this is not the format of {task}.")
    answer = row.text("answerKey")
    gold = (
        None
        if answer is None
        else gold_label(answer, [Choice(label=c.label, text=c.label) for c in choices], row.where)
    )
    return Question(id=identity, task=task, split=split, stem=stem, choices=choices, gold=gold)


def _choice(entry: object, where: str) -> Choice:
    fields = entry if isinstance(entry, dict) else {}
    label, text = (as_text(fields.get(key), key, where) for key in ("label", "text"))
    if label is None or text is None:
        raise DataError(f'{where}: the choice {entry} has no "label" or no "text": give it both.')
    return Choice(label=label, text=text)
