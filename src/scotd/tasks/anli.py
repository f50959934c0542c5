"""Adversarial NLI (Nie et al. 2020, arXiv 1910.14599): does a text entail a claim, contradict it, or neither?

Official files: train.jsonl, dev.jsonl and test.jsonl in the folders R1, R2 and R3, or in those of an `anli_v1.0`:

    {"uid": "...", "context": "The Sharks ...", "hypothesis": "The Sharks never ...", "label": "c", "reason": "..."}

A split holds all rounds that are there; an id is round and uid ("R1-..."). The labels e, n and c are spelt out. White
space is made one blank, so that a question is one paragraph. The claim stands in front of its text: what
`questions.max_stem_words` cuts off is then never the claim (a limit that would reach it is refused), and a reader knows
what to look for.
"""

from collections.abc import Iterator
from pathlib import Path

from scotd.errors import DataError
from scotd.tasks.answer_key import find_splits, refuse_repeated_ids
from scotd.tasks.choices import label_set
from scotd.tasks.cut import kept_text
from scotd.tasks.rows import Row, read_table
from scotd.types import Question

TASK = "anli"
ROUNDS = ("R1", "R2", "R3")
FILES = {split: (f"{split}.jsonl",) for split in ("train", "dev", "test")}
LABELS = {"e": "entailment", "n": "neutral", "c": "contradiction"}
FRAME = '" (entailment), contradict it (contradiction), or leave it open (neutral)? Text: '  # of claim and text
STEM = f'Does the text support the claim "{{claim}}{FRAME}{{text}}'


def load(folder: Path) -> list[Question]:
    """Load the rounds in `folder` or `folder`/anli_v1.0. Raises DataError."""
    inner = folder / "anli_v1.0"
    folder = inner if inner.is_dir() else folder
    rounds = [name for name in ROUNDS if (folder / name).is_dir()]
    if not rounds:
        raise DataError(f"{folder}: no folder R1, R2 or R3: `questions.path` is the folder that holds them.")
    questions = [question for name in rounds for question in _round(name, folder / name)]
    refuse_repeated_ids(questions, folder)
    return sorted(questions, key=lambda question: list(FILES).index(question.split))


def claim_is_cut(question: Question) -> bool:
    """Whether a cut has left nothing of the text, or not even the whole claim."""
    return question.cut_words > 0 and FRAME not in kept_text(question)


def _round(name: str, folder: Path) -> Iterator[Question]:
    choices = label_set(list(LABELS.values()))
    for split, path in find_splits(TASK, folder, FILES):
        for row in read_table(path).rows:
            label = row.text("label")
            if label is not None and label not in LABELS:
                raise DataError(f"{row.where}: the label '{label}' is none of e, n and c.")
            yield Question(
                id=f"{name}-{_cell(row, 'uid')}",
                task=TASK,
                split=split,
                stem=STEM.format(claim=_cell(row, "hypothesis"), text=_cell(row, "context")),
                choices=choices,
                gold=None if label is None else LABELS[label],
            )


def _cell(row: Row, column: str) -> str:
    text = row.text(column)
    if text is None:
        raise DataError(f"{row.where}: no '{column}', or an empty one: this is not the format of {TASK}.")
    return " ".join(text.split())
