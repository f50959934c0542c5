"""SST-2 (Socher et al. 2013, as in GLUE): is a sentence of a film review negative or positive?

Official files: train.tsv, dev.tsv, test.tsv with "SENTENCE<tab>LABEL" on each line, 0 negative and 1 positive, with or
without GLUE's header. GLUE's own test file, "INDEX<tab>SENTENCE", has no labels: gold is None. Lines are parted at
line feeds and tabs alone; quotes are ordinary characters; the tokenised spelling ("does n't") is left as it is.

The source has no ids and repeats some sentences, also between splits ("no"): the id is made from split and sentence,
and a repeat within a split is numbered. An id therefore never depends on which other files are in the folder.
"""

from collections.abc import Iterator
from pathlib import Path

from scotd.errors import DataError
from scotd.tasks.answer_key import find_splits
from scotd.tasks.choices import label_set
from scotd.tasks.content import RepeatNumbers, content_id
from scotd.tasks.rows import Row, read_lines
from scotd.types import Question

TASK = "sst2"
FILES = {split: (f"{split}.tsv",) for split in ("train", "dev", "test")}
LABELS = ("negative", "positive")
_WITH_LABEL = ("sentence", "label")
_WITHOUT_LABEL = ("index", "sentence")


def load(folder: Path) -> list[Question]:
    """Load the files in `folder`. Raises DataError."""
    return [question for split, path in find_splits(TASK, folder, FILES) for question in _split(split, path)]


def _split(split: str, path: Path) -> Iterator[Question]:
    numbers = RepeatNumbers()
    choices = label_set(LABELS)
    rows = list(_rows(path))
    if not rows:
        raise DataError(f"{path}: the file holds no rows: fetch it anew.")
    for row in rows:
        sentence, label = row.text("sentence"), row.text("label")
        if sentence is None:
            raise DataError(f"{row.where}: the sentence is empty: fill it in or remove the row.")
        if label not in {"0", "1", None} or (label is None and "label" in row.values):
            raise DataError(f"{row.where}: the label '{label or ''}' is neither 0 (negative) nor 1 (positive).")
        yield Question(
            id=numbers.unique(content_id(split, sentence, choices)),
            task=TASK,
            split=split,
            stem=sentence,
            choices=choices,
            gold=None if label is None else LABELS[int(label)],
        )


def _rows(path: Path) -> Iterator[Row]:
    lines = [(line, tuple(text.split("\t"))) for line, text in read_lines(path)]
    columns = _WITH_LABEL
    if lines and lines[0][1] in {_WITH_LABEL, _WITHOUT_LABEL}:
        columns = lines[0][1]
        lines = lines[1:]
    for number, (line, fields) in enumerate(lines, 1):
        row = Row(path=path, number=number, line=line, values=dict(zip(columns, fields, strict=False)))
        if len(fields) != 2:
            wanted = f"{columns[0]}<tab>{columns[1]}"
            raise DataError(f"{row.where}: the line holds {len(fields) - 1} tabs where '{wanted}' has one.")
        yield row
