"""OpenBookQA (Mihaylov et al. 2018, arXiv 1809.02789): elementary science, four choices, A to D.

Official files: train.jsonl (4957), dev.jsonl (500), test.jsonl (500), in the folder itself or in its `Main`. The book
of facts is not used. 14 test and 7 dev questions are train questions too, with their choices in another order.
"""

from pathlib import Path

from scotd.tasks.answer_key import load_answer_key
from scotd.types import Question

TASK = "openbookqa"
FILES = {"train": ("train.jsonl",), "dev": ("dev.jsonl",), "test": ("test.jsonl",)}


def load(folder: Path) -> list[Question]:
    """Load the official files in `folder` or `folder`/Main. Raises DataError."""
    inner = folder / "Main"
    return load_answer_key(TASK, inner if inner.is_dir() else folder, FILES)
