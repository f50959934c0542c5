"""IMDB with its contrast set (Maas et al. 2011; Gardner et al. 2020, arXiv 2004.02709): is a film review negative or
positive? The subset of the paper's section 3.4.

Official files, in the folder itself or in folders `cad_orig` and `contrast_sets`, TSV with the columns Sentiment and
Text, quoted:

    train.tsv (1707), dev.tsv (245)                          the original part of the counterfactually-augmented data
    test_original.tsv (488), test_contrast.tsv (488)         the contrast set: row by row a review and its change

`test` is test_original, `contrast` is test_contrast, and a contrast review's `pair` is the id of the review that it
changes. The contrast set changes test reviews, so train must hold none of them: DataError otherwise, also for the
reviews of dev_original.tsv and dev_contrast.tsv (100 of dev's) where these are there. One review of the official
dev.tsv is in train.tsv; it stays and is counted by `scotd.tasks.notes`.

A run of `<br />` is one blank, so that a review is one paragraph: a blank line is what ends a question in a prompt.
Everything else stays as it is. The source has no ids: they are made as in `sst2`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scotd.errors import DataError
from scotd.tasks.answer_key import find_splits
from scotd.tasks.choices import label_set
from scotd.tasks.content import RepeatNumbers, content_id, content_key
from scotd.tasks.rows import Row, read_table
from scotd.types import Question

TASK = "imdb"
FILES = {
    "train": ("train.tsv", "cad_orig/train.tsv"),
    "dev": ("dev.tsv", "cad_orig/dev.tsv"),
    "test": ("test_original.tsv", "contrast_sets/test_original.tsv"),
    "contrast": ("test_contrast.tsv", "contrast_sets/test_contrast.tsv"),
    # read for what train must not hold, and no splits: their reviews are dev's
    "dev_original": ("dev_original.tsv", "contrast_sets/dev_original.tsv"),
    "dev_contrast": ("dev_contrast.tsv", "contrast_sets/dev_contrast.tsv"),
}
SPLITS = ("train", "dev", "test", "contrast")
LABELS = ("negative", "positive")
_BREAKS = re.compile(r"\s*(?:<br\s*/?>\s*)+")


@dataclass(frozen=True, kw_only=True)
class _Review:
    """A question and the row it came from."""

    question: Question
    row: Row


def load(folder: Path) -> list[Question]:
    """Load the files in `folder`. Raises DataError."""
    files = dict(find_splits(TASK, folder, FILES))
    reviews = {split: list(_reviews(split, path)) for split, path in files.items()}
    if "contrast" in reviews:
        reviews["contrast"] = _paired(files["contrast"], reviews["contrast"], reviews.get("test", []))
    for split, held_out in reviews.items():
        if split not in {"train", "dev"}:
            _refuse_shared(reviews.get("train", []), held_out)
    return [review.question for split in SPLITS for review in reviews.get(split, [])]


def _reviews(split: str, path: Path) -> Iterator[_Review]:
    numbers = RepeatNumbers()
    choices = label_set(LABELS)
    table = read_table(path)
    for column in ("Sentiment", "Text"):
        table.require(column, "questions.task: imdb")
    for row in table.rows:
        text, sentiment = row.text("Text"), (row.text("Sentiment") or "").lower()
        review = _BREAKS.sub(" ", text or "").strip()
        if not review:
            raise DataError(f"{row.where}: the review is empty: fill it in or remove the row.")
        if sentiment not in LABELS:
            raise DataError(f"{row.where}: the sentiment '{sentiment}' is neither Negative nor Positive.")
        question = Question(
            id=numbers.unique(content_id(split, review, choices)),
            task=TASK,
            split=split,
            stem=review,
            choices=choices,
            gold=sentiment,
        )
        yield _Review(question=question, row=row)


def _paired(path: Path, contrast: Sequence[_Review], originals: Sequence[_Review]) -> list[_Review]:
    """The contrast reviews with the ids of the originals in the same rows, whose labels they turn."""
    if len(contrast) != len(originals):
        raise DataError(
            f"{path}: {len(contrast)} reviews, but {len(originals)} in test_original.tsv, which they change row by "
            "row: fetch both files anew."
        )
    paired = []
    for changed, original in zip(contrast, originals, strict=True):
        if changed.question.gold == original.question.gold:
            raise DataError(
                f"{changed.row.where}: the label '{changed.question.gold}' is also that of the review that this one "
                f"changes ({original.row.where}): the files do not belong together, fetch both anew."
            )
        paired.append(replace(changed, question=replace(changed.question, pair=original.question.id)))
    return paired


def _refuse_shared(train: Sequence[_Review], held_out: Sequence[_Review]) -> None:
    """Training on a review that is changed in the contrast set would make a student look brittle or clever for it."""
    seen = {content_key(review.question): review for review in train}
    for review in held_out:
        twin = seen.get(content_key(review.question))
        if twin is not None:
            raise DataError(
                f"{twin.row.where}: this review is also in the contrast set ({review.row.where}): train on the "
                "train.tsv of the original part, which has none of them."
            )
