"""CommonsenseQA 1.11, random split (Talmor et al. 2019, arXiv 1811.00937): five choices, A to E.

Official files: train_rand_split.jsonl (9741), dev_rand_split.jsonl (1221), test_rand_split_no_answers.jsonl (1140). The
test file has no labels (gold is None): results are reported on dev, so checkpoints must not be picked there.
"""

from pathlib import Path

from scotd.tasks.answer_key import load_answer_key
from scotd.types import Question

TASK = "commonsenseqa"
FILES = {
    "train": ("train_rand_split.jsonl",),
    "dev": ("dev_rand_split.jsonl",),
    "test": ("test_rand_split_no_answers.jsonl",),
}


def load(folder: Path) -> list[Question]:
    """Load the official files in `folder`. Raises DataError."""
    return load_answer_key(TASK, folder, FILES)
