"""One run folder -> what it holds: its cells and answers, and the parts of the page that are its own.

    run = load(Path("runs/quickstart"))

Answers come from the predictions files (gold label beside the answer), texts and teacher's chains from the corpus.
A run that stopped half way gives what there is; what is missing stands in it as missing.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from scotd.config import DecodingConfig, Experiment, portable
from scotd.corpus import Corpus
from scotd.errors import CorpusError, RunError, did_you_mean
from scotd.report import examples
from scotd.report.data import Answer, Cell, Form, Funnel, FunnelRow, Place, Predictions, SelectionRow, Stage, Value
from scotd.report.read import RunFolder, count, counts, number, text
from scotd.sweep import SEED
from scotd.types import Question

FORMS = "questions.json"  # in a packed run: by question key what `Form` holds


@dataclass(frozen=True, kw_only=True)
class RunPart:
    """What the page says of one run alone. `settings` is the whole configuration, defaults too, flat: "a.b" -> text, of
    paths the last part."""

    name: str
    subtitle: tuple[tuple[str, str], ...]
    funnel: Funnel
    stages: tuple[Stage, ...]
    examples: examples.Examples
    configuration: str
    settings: dict[str, str]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder, read. `cells` are those that the configuration asks for, whether answered or not. `questions`
    come from the corpus, where it is there; a packed run has `forms` of those that were answered by itself."""

    experiment: Experiment
    cells: tuple[Cell, ...]
    predictions: Predictions
    questions: Mapping[str, Question]
    forms: Mapping[str, Form]
    part: RunPart


def load(path: Path, label: str = "", baseline: str | None = None) -> Run:
    """Read a run folder; `label` tells its cells from those of other runs, `baseline` is the row that they are tested
    against instead of the configured one. Raises RunError where it is no run folder, or has no such row."""
    folder = RunFolder(path)
    configured, raw = folder.experiment()
    experiment = configured if baseline is None else _against(baseline, configured, path)
    cells = expected_cells(experiment, label)
    predictions = _predictions(folder, experiment, cells)
    funnel = _funnel(folder, experiment)
    with _corpus(folder, experiment) as corpus:
        questions = _questions(folder, corpus, predictions)
        shown = examples.choose(experiment, predictions, questions, corpus)
    forms = _forms(folder, questions)
    stages = _stages(folder)
    facts = folder.mapping("run.json")
    if facts is None:
        folder.notes.append("run.json: not yet there; versions and seeds are not known.")
    lineage = dict(facts or {})
    said = lineage.pop("notes", None)  # of its questions, when it ran
    part = RunPart(
        name=label or experiment.name,
        subtitle=_subtitle(experiment, funnel, lineage),
        funnel=funnel,
        stages=stages,
        examples=shown,
        configuration=_yaml(raw),
        settings=dict(_flat(portable(configured.model_dump()))),
        facts=tuple(_flat(lineage)),
        notes=(*(note for note in (said if isinstance(said, list) else []) if isinstance(note, str)), *folder.notes),
    )
    return Run(experiment=experiment, cells=cells, predictions=predictions, questions=questions, forms=forms, part=part)


def _against(baseline: str, experiment: Experiment, path: Path) -> Experiment:
    known = experiment.baselines()
    if baseline not in known:
        raise RunError(f"{path}: has no row '{baseline}' to test against.{did_you_mean(baseline, known)}")
    evaluation = experiment.evaluation.model_copy(update={"baseline": baseline})
    return experiment.model_copy(update={"evaluation": evaluation})


def expected_cells(experiment: Experiment, run: str = "") -> tuple[Cell, ...]:
    """Return the cells that the configuration asks for, by split, student and decoding, in the file's order."""
    evaluation = experiment.evaluation
    baseline = experiment.baseline_cells()
    splits = dict.fromkeys(evaluation.splits)
    for decoding in evaluation.decodings.values():
        splits.update(dict.fromkeys(decoding.splits or ()))
    return tuple(
        Cell(
            student=name,
            target=student.target,
            split=split,
            decoding=key,
            votes=decoding.votes,
            row=student.row or name,
            place=_place(student.at),
            seed=_plain(student.at.get(SEED)),
            run=run,
            baseline=name in baseline,
        )
        for split in splits
        for name, student in experiment.students.items()
        for key, decoding in evaluation.decodings.items()
        if (student.decodings is None or key in student.decodings)
        and split in (evaluation.splits if decoding.splits is None else decoding.splits)
    )


def _place(at: Mapping[str, Any]) -> Place:
    return tuple((axis, _plain(value)) for axis, value in at.items() if axis != SEED)


def _plain(value: Any) -> Value:
    """A value of an axis as a plain one: lists and sections as JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)


def _predictions(folder: RunFolder, experiment: Experiment, cells: tuple[Cell, ...]) -> Predictions:
    """Read the predictions of every expected cell; files that belong to none become a note."""
    present = set(folder.names("predictions", ".jsonl"))
    found: dict[Cell, Mapping[str, Answer]] = {}
    for cell in cells:
        # A file is named after the decoding's key, or after what the decoding does ("self-consistency-5").
        names = (cell.decoding, _decoding_name(experiment.evaluation.decodings[cell.decoding]))
        files = [f"{cell.student}.{cell.split}.{name}.jsonl" for name in names]
        name = next((file for file in files if file in present), None)
        answers = None if name is None else folder.answers(name)
        if name is not None:
            present.discard(name)
        if answers:
            found[cell] = answers
    for name in sorted(present):
        folder.notes.append(
            f"predictions/{name}: belongs to no student, split and decoding of the configuration; left out."
        )
    return found


def _decoding_name(decoding: DecodingConfig) -> str:
    return "greedy" if decoding.temperature == 0 else f"self-consistency-{decoding.votes}"


def corpus_of(folder: Path, experiment: Experiment) -> Path | None:
    """The run's corpus, where it is there: as configured, or in the run folder, which may have been moved; of a packed
    run the one beside it."""
    configured = _configured(experiment)
    places = [folder.parent / configured.name] if folder.is_file() else [configured, folder / configured.name]
    return next((path for path in places if path.is_file()), None)


def _configured(experiment: Experiment) -> Path:
    return experiment.corpus or Path("corpus.sqlite")


@contextmanager
def _corpus(folder: RunFolder, experiment: Experiment) -> Iterator[Corpus | None]:
    """Open the run's corpus for reading; None, with a note, where it cannot be. A moved run folder takes its own."""
    path = corpus_of(folder.path, experiment)
    corpus = None
    if path is None:
        folder.notes.append(
            f"The corpus {_configured(experiment)} is not yet there: questions and teacher's chains are not shown."
        )
    else:
        try:
            corpus = Corpus.open(path, mode="ro")
        except CorpusError as error:
            folder.notes.append(f"Questions and teacher's chains are not shown: {error}")
    try:
        yield corpus
    finally:
        if corpus is not None:
            corpus.close()


def _questions(folder: RunFolder, corpus: Corpus | None, predictions: Predictions) -> dict[str, Question]:
    """Return the corpus' questions by key; a note where predictions are about questions it does not hold."""
    if corpus is None:
        return {}
    questions = {question.key: question for question in corpus.questions()}
    strangers = {key for answers in predictions.values() for key in answers} - questions.keys()
    if strangers:
        folder.notes.append(
            f"{len(strangers)} answered questions are not in the corpus; they count, and are shown without their texts."
        )
    return questions


def known_forms(path: Path) -> dict[str, Form]:
    """The forms of the questions in a run's corpus, or in a packed run itself. Raises RunError as `load` does."""
    folder = RunFolder(path)
    with _corpus(folder, folder.experiment()[0]) as corpus:
        return _forms(folder, _questions(folder, corpus, {}))


def _forms(folder: RunFolder, questions: Mapping[str, Question]) -> dict[str, Form]:
    """Forms by question key; entries of a packed run that are none are left out."""
    if not folder.packed:
        return {
            key: Form(
                choices=len(question.choices),
                original=None if question.pair is None else f"{question.task}/{question.pair}",
            )
            for key, question in questions.items()
        }
    return {
        key: Form(choices=choices, original=text(row.get("original")))
        for key, row in (folder.mapping(FORMS) or {}).items()
        if isinstance(row, dict) and (choices := count(row, "choices"))
    }


def _funnel(folder: RunFolder, experiment: Experiment) -> Funnel:
    raw = folder.mapping("funnel.json") or {}
    rows = raw.get("rows")
    trained = counts(raw.get("trained"))
    teacher = raw.get("teacher")
    if isinstance(teacher, dict):
        teacher = teacher.get("name") or teacher.get("model")
    students = []
    for name, student in experiment.students.items():
        selection = folder.mapping(f"selections/{name}.json") or {}
        if selection or name in trained:
            students.append(
                SelectionRow(
                    student=name,
                    target=student.target,
                    name=text(selection.get("name")),
                    kept=count(selection, "kept"),
                    questions=count(selection, "questions"),
                    dropped=counts(selection.get("dropped")),
                    trained=trained.get(name),
                    stored=text(selection.get("stored")),
                )
            )
    return Funnel(
        teacher=text(teacher),
        requests=_requests(raw.get("requests")),
        rows=tuple(
            FunnelRow(
                sampling=text(row.get("sampling")) or "not named",
                asked=count(row, "asked"),
                received=count(row, "received"),
                parsed=count(row, "parsed"),
                correct=count(row, "correct"),
                finish=counts(row.get("finish")),
                unparsed=counts(row.get("unparsed")),
            )
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        ),
        students=tuple(students),
    )


def _requests(raw: Any) -> dict[str, int]:
    """What became of requests, by the words of the page; what never happened is left out."""
    if not isinstance(raw, dict):
        return {}
    found = counts(raw)
    told = {"answered": found.get("ok", 0)}
    told |= {f"failed: {kind}": n for kind, n in counts(raw.get("failures")).items()}
    for name, words in (
        ("unaccounted", "under way when a run was killed"),
        ("lost", "answers lost on the way"),
        ("unreadable", "answers that could not be read"),
        ("unsaid", "answers whose tokens the server did not count"),
    ):
        told[words] = found.get(name, 0)
    return {words: n for words, n in told.items() if n}


def _stages(folder: RunFolder) -> tuple[Stage, ...]:
    return tuple(
        Stage(
            stage=text(row.get("stage")) or "not named",
            name=text(row.get("name")) or "",
            seconds=number(row, "seconds"),
            tokens=count(row, "tokens"),
            counts=dict(_flat(row["counts"])) if isinstance(row.get("counts"), dict) else {},
            skipped=row.get("skipped") is True,
        )
        for row in folder.mappings("stages.json") or []
    )


def _subtitle(experiment: Experiment, funnel: Funnel, run: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    teacher = funnel.teacher or experiment.teacher.name or experiment.teacher.model
    models = dict.fromkeys(student.model or experiment.student for student in experiment.students.values())
    facts = {
        "questions": experiment.questions.task,
        "trained on": ", ".join(dict.fromkeys(questions.task for questions in experiment.train_on)),
        "teacher": teacher,
        "student": ", ".join(models),
        "finished": (text(run.get("finished")) or "not yet") if run else "",
    }
    return tuple((key, value) for key, value in facts.items() if value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested mappings as "a.b" -> text; lists as JSON."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}.")
        elif inner is not None:
            yield f"{prefix}{key}", inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)


def _yaml(raw: Mapping[str, Any]) -> str:
    """Write the resolved configuration as the YAML that `scotd run` reads; settings without a value are left out."""

    def without_none(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_none(inner) for key, inner in value.items() if inner is not None}
        return value

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = StringIO()
    writer.dump(without_none(dict(raw)), stream)
    return stream.getvalue()
