"""Run folder -> Report: reads what `scotd run` wrote, and computes every number that the page shows.

    report = collect(Path("runs/quickstart"))

Accuracies come from the predictions files (gold label beside the answer), texts and teacher's chains from the corpus.
A run that stopped half way gives a report of what there is; what is missing stands in it as missing.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from scotd.config import DecodingConfig, Experiment
from scotd.corpus import Corpus
from scotd.errors import CorpusError
from scotd.report import examples, verdict
from scotd.report.data import (
    Answer,
    Cell,
    Comparison,
    Funnel,
    FunnelRow,
    Mark,
    Report,
    Result,
    Row,
    SelectionRow,
    SplitTable,
    Stage,
)
from scotd.report.read import RunFolder, count, counts, number, text
from scotd.stats import mcnemar_exact, paired_counts, wilson
from scotd.types import Question

Predictions = Mapping[Cell, Mapping[str, Answer]]


def collect(run_folder: Path) -> Report:
    """Gather everything that the report of a run shows. Raises RunError where the folder is no run folder."""
    folder = RunFolder(run_folder)
    experiment, raw = folder.experiment()
    cells = expected_cells(experiment)
    predictions = _predictions(folder, experiment, cells)
    funnel = _funnel(folder, experiment)
    with _corpus(folder, experiment) as corpus:
        questions = _questions(folder, corpus, predictions)
        shown = examples.choose(experiment, predictions, questions, corpus)
    tables = _tables(experiment, cells, predictions, questions)
    stages = _stages(folder)
    run = folder.mapping("run.json")
    if run is None:
        folder.notes.append("run.json: not yet there; versions and seeds are not known.")
    return Report(
        name=experiment.name,
        subtitle=_subtitle(experiment, funnel, run or {}),
        verdict=verdict.verdict(tables, experiment.evaluation.baseline),
        limits=verdict.limits(tables, experiment.evaluation.baseline, experiment.evaluation.confidence),
        baseline=experiment.evaluation.baseline,
        confidence=experiment.evaluation.confidence,
        tables=tables,
        funnel=funnel,
        stages=stages,
        examples=shown,
        configuration=_yaml(raw),
        facts=tuple(_flat(run or {})),
        notes=tuple(folder.notes),
    )


def expected_cells(experiment: Experiment) -> tuple[Cell, ...]:
    """Return the cells that the configuration asks for, by split, student and decoding, in the file's order."""
    evaluation = experiment.evaluation
    splits = dict.fromkeys(evaluation.splits)
    for decoding in evaluation.decodings.values():
        splits.update(dict.fromkeys(decoding.splits or ()))
    return tuple(
        Cell(student=name, target=student.target, split=split, decoding=key, votes=decoding.votes)
        for split in splits
        for name, student in experiment.students.items()
        for key, decoding in evaluation.decodings.items()
        if (student.decodings is None or key in student.decodings)
        and split in (evaluation.splits if decoding.splits is None else decoding.splits)
    )


def _predictions(folder: RunFolder, experiment: Experiment, cells: tuple[Cell, ...]) -> Predictions:
    """Read the predictions of every expected cell; files that belong to none become a note."""
    present = {path.name for path in (folder.path / "predictions").glob("*.jsonl")}
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


@contextmanager
def _corpus(folder: RunFolder, experiment: Experiment) -> Iterator[Corpus | None]:
    """Open the run's corpus for reading; None, with a note, where it cannot be. A moved run folder takes its own."""
    configured = experiment.corpus or Path("corpus.sqlite")
    path = next((path for path in (configured, folder.path / configured.name) if path.is_file()), None)
    corpus = None
    if path is None:
        folder.notes.append(f"The corpus {configured} is not yet there: questions and teacher's chains are not shown.")
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
        folder.notes.append(f"{len(strangers)} answered questions are not in the corpus; they count but are not shown.")
    return questions


def _tables(
    experiment: Experiment, cells: tuple[Cell, ...], predictions: Predictions, questions: Mapping[str, Question]
) -> tuple[SplitTable, ...]:
    confidence = experiment.evaluation.confidence
    tables = []
    for split in dict.fromkeys(cell.split for cell in cells):
        here = [cell for cell in cells if cell.split == split]
        answered = {key for cell in here for key in predictions.get(cell, {})}
        rows = []
        for cell in here:
            answers = predictions.get(cell)
            rows.append(
                Row(
                    cell=cell,
                    result=None if answers is None else summarise(answers, confidence),
                    comparison=_comparison(cell, experiment.evaluation.baseline, here, predictions, confidence),
                )
            )
        tables.append(SplitTable(split=split, chance=_chance(answered, questions), rows=tuple(rows)))
    return tuple(tables)


def summarise(answers: Mapping[str, Answer], confidence: float) -> Result:
    """Count one cell. An answer without gold label is in no rate; an unparsed one counts as wrong (design: Prediction).

    `confidence` is that of the interval, in (0, 1).
    """
    rows = list(answers.values())
    labelled = [row for row in rows if row.gold is not None]
    correct = sum(row.mark is Mark.RIGHT for row in labelled)
    chains = [chain for row in rows for chain in row.chains]
    lengths = [chain.n_tokens for chain in chains if chain.n_tokens is not None]
    return Result(
        n=len(labelled),
        unlabelled=len(rows) - len(labelled),
        correct=correct,
        interval=wilson(correct, len(labelled), confidence) if labelled else None,
        unparsed=sum(row.answer is None for row in rows),
        reasons=dict(Counter(row.reason or "no reason given" for row in rows if row.answer is None).most_common()),
        ties=sum(row.tied for row in rows),
        chains=len(chains),
        chains_unparsed=sum(chain.answer is None for chain in chains),
        tokens=sum(lengths) / len(rows) if chains and len(lengths) == len(chains) else None,
    )


def _comparison(
    cell: Cell, baseline: str | None, here: list[Cell], predictions: Predictions, confidence: float
) -> Comparison | None:
    """Test a cell against the baseline decoded alike, or else decoded in its first way; on the questions of both."""
    if baseline is None or cell.student == baseline or cell not in predictions:
        return None
    others = [other for other in here if other.student == baseline and other in predictions]
    other = next((other for other in others if other.decoding == cell.decoding), others[0] if others else None)
    if other is None:
        return None
    a, b = predictions[cell], predictions[other]
    common = [key for key in a if key in b and a[key].gold is not None and a[key].gold == b[key].gold]
    if not common:
        return None
    right_a, right_b = ({key: side[key].mark is Mark.RIGHT for key in common} for side in (a, b))
    _, only_a, only_b, _ = paired_counts(right_a, right_b)
    return Comparison(
        student=other.student,
        decoding=other.decoding,
        pairs=len(common),
        only_this=only_a,
        only_baseline=only_b,
        p=mcnemar_exact(only_a, only_b),
        needed=needed_surplus(only_a + only_b, 1 - confidence),
    )


def needed_surplus(discordant: int, alpha: float) -> int | None:
    """Return the smallest surplus, among `discordant` differing pairs, whose exact McNemar p is below `alpha`.

    None where even all of them on one side would not do (fewer than 6 pairs at 0.05).
    """
    low, high = (discordant + 1) // 2, discordant
    if mcnemar_exact(high, 0) >= alpha:
        return None
    while low < high:
        middle = (low + high) // 2
        if mcnemar_exact(middle, discordant - middle) < alpha:
            high = middle
        else:
            low = middle + 1
    return high - (discordant - high)


def _chance(answered: set[str], questions: Mapping[str, Question]) -> float | None:
    """Return the accuracy of a random guess where every answered question is known and has as many choices."""
    if not answered or not answered <= questions.keys():
        return None
    sizes = {len(questions[key].choices) for key in answered}
    return 1 / sizes.pop() if len(sizes) == 1 else None


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
                )
            )
    return Funnel(
        teacher=text(teacher),
        rows=tuple(
            FunnelRow(
                sampling=text(row.get("sampling")) or "not named",
                asked=count(row, "asked"),
                received=count(row, "received"),
                parsed=count(row, "parsed"),
                correct=count(row, "correct"),
                finish=counts(row.get("finish")),
            )
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        ),
        students=tuple(students),
    )


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
