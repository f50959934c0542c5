"""A dataset of the Hugging Face hub, or a folder with one, with the column mapping of your own files.

    questions:
      task: boolq
      hub: google/boolq
      hub_revision: COMMIT      # without it, whatever the hub has today; the run's notes name the commit
      columns: {question: "{question}? {passage}", answer: answer}
      labels: ["yes", "no"]
      dev: null
    evaluation: {splits: [validation]}

Splits are the dataset's own, all of them. A feature with named classes (ClassLabel) is read by the names; -1 is its
sign for no label. What is published is taken as it is: a question in two splits stays and is counted by
`scotd.tasks.notes`, and without `columns.id` an id is made from split and content. Nothing of a dataset is run: one
that needs a script is refused by the library.

The library `datasets` is imported only here, and only when a dataset is asked for: pip install 'scotd[hub]'.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scotd.config import QuestionsConfig, check_plain
from scotd.errors import ConfigError, DataError
from scotd.tasks.content import RepeatNumbers, content_id
from scotd.tasks.files import read_questions, refuse_repeated_ids
from scotd.tasks.rows import Row, Table
from scotd.types import Question

if TYPE_CHECKING:
    from datasets import Dataset

_COMMIT = re.compile(r"[0-9a-f]{40}")


def load_hub(config: QuestionsConfig) -> list[Question]:
    """Load every split of the dataset `config.hub`; limits are not applied here.

    Raises ConfigError where the dataset cannot be had, DataError for everything that is wrong in a row.
    """
    assert config.hub is not None and config.columns is not None, config
    placed = read_questions(_tables(config), config)
    if config.columns.id is not None:
        refuse_repeated_ids(placed, config.columns)
        return [item.question for item in placed]
    numbers = RepeatNumbers()
    questions = [item.question for item in placed]
    return [replace(one, id=numbers.unique(content_id(one.split, one.stem, one.choices))) for one in questions]


def hub_note(config: QuestionsConfig) -> str | None:
    """A sentence that names the commit which the questions are of, where the configuration does not.

    None without `hub`, and for a folder, which has no commits. Loads the dataset if that was not done yet.
    """
    commit = None if config.hub is None else _published(config).commit
    if commit is None or commit == config.hub_revision:
        return None
    return f"questions.hub '{config.hub}' was at commit {commit}: `hub_revision: {commit}` keeps it."


def _tables(config: QuestionsConfig) -> Iterator[tuple[str, Table]]:
    name = str(config.hub)
    for split, data in _published(config).splits.items():
        try:
            check_plain(split, f"the splits of questions.hub '{name}'")
        except ValueError as error:
            raise ConfigError(f"{error}.") from None
        yield split, _table(Path(name) / split, data)


def _table(path: Path, data: "Dataset") -> Table:
    """One split as rows of plain values. Arrow gives them as they are stored: no picture or sound is decoded."""
    from datasets import ClassLabel

    if not len(data):
        raise DataError(f"{path}: the split holds no rows: name a dataset, or a revision of it, that has some.")
    classes = {column: kind for column, kind in data.features.items() if isinstance(kind, ClassLabel)}

    def named(column: str, value: Any) -> Any:
        if column not in classes or value is None:
            return value
        return None if value == -1 else classes[column].int2str(value)

    rows = tuple(
        Row(path=path, number=number, line=None, values={column: named(column, held) for column, held in row.items()})
        for number, row in enumerate(data.with_format("arrow")[:].to_pylist(), 1)
    )
    return Table(path=path, columns=tuple(data.column_names), rows=rows)


class _Published(NamedTuple):
    splits: "dict[str, Dataset]"
    commit: str | None  # of the hub; a folder has none


def _published(config: QuestionsConfig) -> _Published:
    """The dataset. Raises ConfigError in one sentence for whatever the library says."""
    assert config.hub is not None, config
    found = _load(config.hub, config.hub_config, config.hub_revision)
    wanted = config.hub_revision or ""
    if found.commit is not None and _COMMIT.fullmatch(wanted) and found.commit != wanted:
        raise ConfigError(  # without a network the library takes what it loaded last, whatever was asked for
            f"questions.hub '{config.hub}' is here at commit {found.commit}, and hub_revision wants {wanted}, "
            "which could not be fetched: connect to the network."
        )
    return found


@lru_cache(maxsize=8)  # the questions and their commit are asked for one after the other, and have to agree
def _load(name: str, hub_config: str | None, revision: str | None) -> _Published:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"questions.hub '{name}': {error.name} is not installed, and reading a dataset of the hub needs it: "
            "pip install 'scotd[hub]'."
        ) from None
    try:
        if (Path(name) / "dataset_dict.json").is_file():  # as `save_to_disk` writes it
            return _Published(dict(datasets.load_from_disk(name)), None)
        splits = dict(datasets.load_dataset(name, hub_config, revision=revision))
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        remedy = (
            "connect to the network, or name a folder that holds the dataset"
            if isinstance(error, ConnectionError)
            else "check the id, `hub_config` and `hub_revision`"
        )
        raise ConfigError(f"questions.hub '{name}' cannot be loaded ({problem}): {remedy}.") from None
    # The library keeps what it loaded in NAME/CONFIG/VERSION/COMMIT; for a folder the last is a longer digest.
    folders = {Path(file["filename"]).parent.name for data in splits.values() for file in data.cache_files}
    commits = sorted(filter(_COMMIT.fullmatch, folders))
    return _Published(splits, commits[0] if commits else None)
