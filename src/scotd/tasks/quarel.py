"""QuaRel 1.0 (Tafjord et al. 2019, arXiv 1811.08048): which of two, in stories of qualitative physics.

Official files: quarel-v1-train.jsonl (1941), -dev (278), -test (552), with the choices inside the question:

    {"id": "QuaRel_V1_Fr_0223", "question": "Mike was ... has (A) more friction (B) less friction", "answer_index": 1}

Also read: files of question and answer ("(B)") only, as JSONL (train.questions.jsonl) or one object keyed by row number
(dev.json); their ids are made from the content.

The stem is what stands before "(A)"; an "or" that only joins the two choices ("(A) the sand or (B) the lot?") belongs
to neither and is left out. Everything else stays as it is, end marks included.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from scotd.errors import DataError
from scotd.tasks.answer_key import find_splits, refuse_repeated_ids
from scotd.tasks.choices import gold_label, lettered
from scotd.tasks.content import RepeatNumbers, content_id
from scotd.tasks.rows import FORMATS, Row, read_json, read_table
from scotd.types import Choice, Question

TASK = "quarel"
FILES = {
    split: (f"quarel-v1-{split}.jsonl", f"{split}.questions.jsonl", f"{split}.jsonl", f"{split}.json")
    for split in ("train", "dev", "test")
}
_SHAPE = re.compile(r"(?P<stem>.*?)\(A\)(?P<a>.*?)(?:[,;]?\s+or[,:]?\s*)?\(B\)(?P<b>.*)", re.DOTALL)


def load(folder: Path) -> list[Question]:
    """Load the files in `folder`. Raises DataError."""
    numbers = RepeatNumbers()
    questions = [
        _question(split, row, numbers) for split, path in find_splits(TASK, folder, FILES) for row in _rows(path)
    ]
    refuse_repeated_ids(questions, folder)
    return questions


def _rows(path: Path) -> Iterator[Row]:
    if FORMATS[Path(path.name.removesuffix(".gz")).suffix] == "jsonl":
        yield from read_table(path).rows
        return
    value = read_json(path)
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: expected objects keyed by row number, or a list of them: this is not QuaRel.")
    for number, item in enumerate(items, 1):
        yield Row(path=path, number=number, line=None, values=item)


def _question(split: str, row: Row, numbers: RepeatNumbers) -> Question:
    text = row.text("question") or ""
    match = _SHAPE.fullmatch(text)
    if match is None or not all(part.strip() for part in match.groups()):
        raise DataError(f"{row.where}: the question '{text[:60]}' is not of the form 'STEM (A) TEXT (B) TEXT'.")
    stem = match["stem"].strip()
    choices = lettered([match["a"].strip(), match["b"].strip()])
    identity = row.text("id") or numbers.unique(content_id("q", stem, choices))
    return Question(id=identity, task=TASK, split=split, stem=stem, choices=choices, gold=_gold(row, choices))


def _gold(row: Row, choices: tuple[Choice, ...]) -> str | None:
    index = row.text("answer_index")
    if index is not None:
        if index not in {"0", "1"}:
            raise DataError(f"{row.where}: the answer_index '{index}' is neither 0 (A) nor 1 (B).")
        return choices[int(index)].label
    answer = row.text("answer")
    return None if answer is None else gold_label(answer, choices, row.where)
