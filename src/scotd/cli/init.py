"""`scotd init`: a commented experiment file for one's own questions, and an exemplar file beside it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scotd.cli.base import say
from scotd.errors import ConfigError, DataError, ScotdError

if TYPE_CHECKING:
    from scotd.cli.guess import Guess
    from scotd.types import Question

# How the other splits of a data set are called where the training file has "train" in its name.
_SPLITS = {"dev": ("dev", "valid", "validation", "val"), "test": ("test",)}


@click.command(short_help="Write a commented experiment file for your own questions.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Your training questions (.jsonl, .json, .csv, .tsv, .parquet): its columns are looked at, and a best guess "
    "at what they hold is written into the file.",
)
def init(path: Path, data: Path | None) -> None:
    """Write a commented experiment file to PATH, and exemplars to be replaced beside it."""
    from scotd.cli.starter import exemplars_text, experiment_text
    from scotd.tasks import TASKS

    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: name a file that ends in .yaml, for instance {path / 'experiment.yaml'}.")
    name = _name(path.stem)
    task = f"my-{name}" if name in TASKS else name
    exemplars = path.with_name(f"{path.stem}-exemplars.yaml")
    for taken in (path, exemplars):
        if taken.exists():
            raise ConfigError(f"{taken}: is there already and is not overwritten. Remove it, or name another file.")
    look = None if data is None else _look(data, task, path.parent)
    files = (("train", "train.csv", ""), ("test", "test.csv", "questions for measuring, none of them in train"))
    text = experiment_text(
        file=path.name,
        name=name,
        task=task,
        files=files if look is None else look.files,
        exemplars=exemplars.name,
        guess=None if look is None else look.guess,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in (
        (exemplars, exemplars_text(() if look is None else look.questions)),
        (path, text),
    ):
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(content)
    click.echo(f"Experiment: {path}")
    click.echo(f"Exemplars:  {exemplars}")
    if look is not None:
        say(look.verdict)
    say(f"Next: put your worked examples into {exemplars}, then: scotd preview {path}")


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What was seen in the user's data. `files` are (split, path as written, remark)."""

    files: tuple[tuple[str, str, str], ...]
    guess: "Guess"
    questions: tuple["Question", ...]
    verdict: str


def _look(data: Path, task: str, base: Path) -> _Look:
    """Guess the columns, see whether the questions can be read so, and find the other splits."""
    from scotd.cli.guess import Guess
    from scotd.config import ColumnsConfig, QuestionsConfig
    from scotd.tasks.files import load_files
    from scotd.tasks.rows import read_table

    guess = Guess.of(read_table(data))
    columns = ColumnsConfig(
        question=guess.question or "question",
        choices=guess.choices,
        answer=guess.answer,
        id=guess.id,
        pair=guess.pair,
        separator=guess.separator,
    )
    labels = guess.labels if guess.choices is not None or guess.labels is not None else ("yes", "no")
    try:
        questions = load_files(QuestionsConfig(task=task, files={"train": data}, columns=columns, labels=labels))
        count, labelled = len(questions), sum(question.gold is not None for question in questions)
        verdict = f"With this guess {count} questions can be read from {data}, {labelled} of them labelled."
    except ScotdError as error:
        questions = []
        verdict = f"The guess does not fit the data yet, mend either: {error}"
    files = [("train", _written(data, base), "")]
    others = {split: _sibling(data, names, guess.columns) for split, names in _SPLITS.items()}
    if (dev := others["dev"]) is not None:
        files.append(("dev", _written(dev, base), "guess, by its name: picks checkpoints"))
    test = others["test"]
    if test is not None:
        files.append(("test", _written(test, base), "guess, by its name"))
    else:
        missing = data.with_name(f"test{''.join(data.suffixes)}")
        files.append(("test", _written(missing, base), "not there yet: questions for measuring, none of them in train"))
    return _Look(files=tuple(files), guess=guess, questions=tuple(questions), verdict=verdict)


def _sibling(data: Path, names: tuple[str, ...], columns: tuple[str, ...]) -> Path | None:
    """The file of another split beside the training file: train.csv -> test.csv, with the same columns."""
    from scotd.tasks.rows import read_table

    for name in names:
        candidates = [data.with_name(f"{name}{''.join(data.suffixes)}")]
        if "train" in data.name:
            candidates.insert(0, data.with_name(data.name.replace("train", name)))
        for candidate in candidates:
            if candidate == data or not candidate.is_file():
                continue
            try:
                fits = set(read_table(candidate).columns) >= set(columns)
            except DataError:
                continue  # no file of questions: not ours to complain about
            if fits:
                return candidate
    return None


def _written(path: Path, base: Path) -> str:
    """A path as the experiment file gives it: relative to its folder where that is possible."""
    try:
        return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _name(stem: str) -> str:
    """A name for run folder and task, made of a file's."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "mine"
