"""`scotd predict`: ask a trained student, one question or a file of them, and see chains and votes."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scotd.cli.base import needs_torch, quiet_libraries, require_local, say
from scotd.cli.terminal import json_line, safe, wrapped
from scotd.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from scotd.asking import Asking
    from scotd.config import ColumnsConfig
    from scotd.decode import Decoder
    from scotd.types import Decoding, Prediction, Question

VOTING_TEMPERATURE = 0.7  # the paper's, for self-consistency
BATCH_CHAINS = 64
# Where a student of a built-in task is asked about a file and no --column says otherwise.
USUAL_COLUMNS = {"question": "question", "choices": "choices", "answer": "answer", "id": "id"}


@click.command(short_help="Ask a trained student.")
@click.argument("student", type=click.Path(path_type=Path))
@click.argument("question", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="Questions: .jsonl, .json, .csv, .tsv, .parquet.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="WHAT=COLUMN",
    help="A column of the file, where it differs from the training files': question=text, choices=a,b,c, answer=gold.",
)
@click.option(
    "--choices", metavar="A|B|C", help="The choices, where the student's questions have choices of their own."
)
@click.option("--votes", type=click.IntRange(min=1), default=1, help="Sample so many chains; the majority answers.")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy; with --votes 0.7 unless you say so.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Cap on a chain; the student's evaluation had its own.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampling.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a question, on stdout.")
@needs_torch
def predict(
    student: Path,
    question: str | None,
    path: Path | None,
    columns: tuple[str, ...],
    choices: str | None,
    votes: int,
    temperature: float | None,
    max_tokens: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Ask the STUDENT (a folder, runs/NAME/students/STUDENT) a QUESTION, or those of a --file; "-" reads one question
    a line from stdin. It is asked exactly as it was trained."""
    from scotd.asking import Asking
    from scotd.types import Decoding, SamplingParams

    if (question is None) == (path is None):
        raise ConfigError("give a QUESTION or --file, and not both.")
    if columns and path is None:
        raise ConfigError("--column goes with --file.")
    asking = Asking.read(student)
    texts = None if choices is None else [text.strip() for text in choices.split("|")]
    heat = (VOTING_TEMPERATURE if votes > 1 else 0.0) if temperature is None else temperature
    if votes > 1 and heat == 0:
        raise ConfigError(f"--votes {votes} at --temperature 0 gives the same chain {votes} times: leave one out.")
    params = SamplingParams(temperature=heat, max_tokens=max_tokens or asking.max_tokens)
    source = _Source(asking=asking, texts=texts)
    batches = source.file(path, columns) if path is not None else source.typed(question or "")
    first = next(batches, None)
    if first is None:
        raise DataError("no question was given: stdin is empty.")
    session = _Session(
        asking=asking,
        decoding=Decoding(sampling=params, votes=votes),
        seed=seed,
        decoder=_decoder(student),
    )
    right = scored = 0
    for given in chain([first], batches):
        batch = asking.as_trained(given)
        cut = sum(asked.cut_words > 0 for asked in batch)
        if cut:
            say(f"note: cut after {asking.max_stem_words} words, as in its training: {cut} of {len(batch)} questions")
        for asked, found in session.answers(batch):
            click.echo(json_line(_as_json(asked, found)) if as_json else "\n".join(_as_text(asked, found)))
            right += asked.gold is not None and found.answer == asked.gold
            scored += asked.gold is not None
    if scored:
        say(f"{right} of {scored} labelled questions right ({right / scored:.1%})")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where questions come from, in batches that are answered together."""

    asking: "Asking"
    texts: Sequence[str] | None

    def typed(self, question: str) -> Iterator[list["Question"]]:
        """The question of the command line, or stdin: at once from a pipe, line by line from a person."""
        if question != "-":
            yield [self.asking.question(question, self.texts)]
            return
        self.asking.choices(self.texts)  # missing choices are told before anybody types
        lines = (line.strip() for line in sys.stdin)
        if sys.stdin.isatty():
            say("One question a line; Ctrl-D ends.")
            for line in lines:
                if line:
                    yield [self.asking.question(line, self.texts)]
            return
        found = [self.asking.question(line, self.texts) for line in lines if line]
        if found:
            yield found

    def file(self, path: Path, given: Sequence[str]) -> Iterator[list["Question"]]:
        from scotd.asking import SPLIT
        from scotd.config import QuestionsConfig
        from scotd.tasks.files import load_files

        columns, notes = self._columns(path, given)
        labels = self.asking.labels if columns.choices is None or not self.asking.words else None
        if self.texts is not None:
            if not self.asking.words or columns.choices is not None:
                raise ConfigError("--choices with a --file: name the columns instead, --column choices=a,b,c.")
            labels = tuple(self.texts)
        if columns.choices is None and (labels is None or not self.asking.words):
            raise ConfigError(
                f"{path}: which column holds the choices? Name it: --column choices=COLUMN (or a,b,c for several)."
            )
        config = QuestionsConfig(task=self.asking.task, files={SPLIT: path}, columns=columns, labels=labels)
        questions = load_files(config)
        for note in notes:
            say(note)
        yield questions

    def _columns(self, path: Path, given: Sequence[str]) -> "tuple[ColumnsConfig, list[str]]":
        """The training files' columns with --column on top, and notes on optional ones that this file lacks."""
        from scotd.config import ColumnsConfig
        from scotd.tasks.rows import read_table

        trained = self.asking.columns
        known: dict[str, Any] = dict(USUAL_COLUMNS if trained is None else trained.model_dump(exclude_none=True))
        chosen: dict[str, Any] = {}
        for one in given:
            key, equals, value = one.partition("=")
            if not equals or not value or key not in ColumnsConfig.model_fields:
                near = did_you_mean(key, ColumnsConfig.model_fields)
                raise ConfigError(f"--column {one}: expected WHAT=COLUMN.{near}")
            chosen[key] = tuple(value.split(",")) if key == "choices" and "," in value else value
        there, notes = read_table(path).columns, []
        for key in ("answer", "id", "pair", *(["choices"] if trained is None else [])):
            name = known.get(key)
            if key not in chosen and isinstance(name, str) and name not in there:
                del known[key]
                if trained is not None:
                    notes.append(f"note: {path} has no column '{name}' ({key}): it is done without")
        return ColumnsConfig(**{**known, **chosen}), notes


@dataclass(frozen=True, kw_only=True)
class _Session:
    """A student in memory and the way in which it answers."""

    asking: "Asking"
    decoding: "Decoding"
    seed: int
    decoder: "Decoder"

    def answers(self, questions: Sequence["Question"]) -> Iterator[tuple["Question", "Prediction"]]:
        """Answer some questions; what comes out is in their order."""
        from scotd.evaluate import answer
        from scotd.progress import silent, track
        from scotd.prompts import student_prompt

        once = {question.key: question for question in questions}  # a question typed twice has one answer
        found: dict[str, Prediction] = {}
        progress = track if len(once) * self.decoding.votes > BATCH_CHAINS else silent
        with progress("answering", len(once)) as bar:

            def store(predictions: Iterable["Prediction"]) -> None:
                new = {prediction.question_key: prediction for prediction in predictions}
                found.update(new)
                bar.advance(len(new))

            answer(
                self.decoder,
                list(once.values()),
                lambda question: student_prompt(question, self.asking.templates),
                self.decoding,
                seed=self.seed,
                batch_chains=BATCH_CHAINS,
                store=store,
            )
        for question in questions:
            yield question, found[question.key]


def _decoder(student: Path) -> "Decoder":
    require_local()
    quiet_libraries()
    from scotd.experiment.evaluation import decoder_of
    from scotd.models import resolve

    return decoder_of(resolve(str(student)))


def _as_json(question: "Question", prediction: "Prediction") -> dict[str, object]:
    """The fields of a run's predictions/*.jsonl, and the question."""
    from scotd.experiment.record import prediction_row

    return {
        "question_key": question.key,
        "question": question.stem,
        "choices": [{"label": choice.label, "text": choice.text} for choice in question.choices],
        **prediction_row(prediction, question, prediction.decoding.name),
    }


def _as_text(question: "Question", prediction: "Prediction") -> Iterator[str]:
    from scotd.answers import parse

    yield wrapped(question.stem, "Q: ", "   ")
    verdict = ""
    if question.gold is not None:
        verdict = (
            " (right)" if prediction.answer == question.gold else f" (wrong: it is {_shown(question, question.gold)})"
        )
    if prediction.answer is None:
        yield f"A: no answer, {prediction.reason}{safe(verdict)}"
    else:
        yield f"A: {safe(_shown(question, prediction.answer) + verdict)}"
    if len(prediction.chains) > 1:
        votes = ", ".join(f"{label} {count}" for label, count in prediction.tally.items()) or "none"
        silent = len(prediction.chains) - sum(prediction.tally.values())
        yield (
            f"   votes: {safe(votes)}"
            + (f", without an answer {silent}" if silent else "")
            + (" (a tie, decided by a rule that favours no choice)" if prediction.tied else "")
        )
    for one in prediction.chains:
        parsed = parse(one.text, question, one.finish)
        mark = parsed.answer if parsed.answer is not None else f"- {parsed.reason}"
        cut = " ..." if one.finish == "length" else ""
        yield wrapped(f"[{mark}] {one.text.strip()}{cut}", "   ", "       ")


def _shown(question: "Question", label: str) -> str:
    choice = question.choice(label)
    return choice.label if question.has_label_set else f"({choice.label}) {choice.text}"
