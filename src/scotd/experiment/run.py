"""The stages in their order, each skipped when done."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from scotd import __version__
from scotd.config import Experiment, TeacherConfig, portable
from scotd.corpus import Corpus
from scotd.corpus.exchange import import_parquet
from scotd.errors import ConfigError, DataError, TeacherError
from scotd.evaluate import Accuracy
from scotd.experiment.plan import Plan
from scotd.experiment.record import RunFolder, git_state, versions
from scotd.experiment.selections import Pool, select_stage
from scotd.models import resolve
from scotd.progress import Tracker, track
from scotd.teachers import Teacher, teacher_name
from scotd.teachers.budget import Budget
from scotd.teachers.prices import price_of
from scotd.teachers.sampling import SampleReport, lacking, sample
from scotd.types import Answered, Question

STAGES = ("sample", "select", "train", "evaluate")


Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the report: a student on a split, decoded one way. `accuracy` is None while it is not `done`, and
    where the questions have no gold labels."""

    student: str
    split: str
    decoding: str
    accuracy: Accuracy | None
    done: bool = True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where a run's results are, and its accuracies so far."""

    folder: Path
    cells: tuple[Cell, ...]


Show = Callable[[Sequence[Cell]], None]
"""Called with all cells of a run in the file's order, when they are known and whenever one of them is done."""


def run(
    experiment: Experiment,
    *,
    until: str = STAGES[-1],
    fresh: bool = False,
    say: Say,
    show: Show = lambda cells: None,
    progress: Tracker = track,
) -> Outcome:
    """Go through the stages up to and including `until`, resuming whatever an earlier sitting left.

    `fresh` asks the teacher for every chain: `import_chains` is left aside, and the corpus is one of its own,
    RUN_FOLDER/fresh.sqlite, which later fresh runs go on with. Raises a ScotdError for what the
    user can mend; Ctrl-C leaves everything that was computed where the next run finds it.
    """
    if fresh:
        experiment = afresh(experiment)
    plan = Plan.of(experiment)
    _check_imported(plan)
    folder = RunFolder(plan.folder)
    taken = folder.configure(experiment.model_dump(mode="json"))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    for note in plan.notes:
        say(f"note: {note}")
    if taken:
        say(
            f"note: the configuration is another one than before: {taken} files of answers are taken out of "
            f"{folder.path / 'predictions'}. The corpus keeps them; the old configuration writes them again without "
            "asking anew; a run under another name (`--set name=...`) leaves them."
        )
    cells = _cells(plan)
    with Corpus.open(plan.corpus_path) as corpus:
        lineage = _lineage(plan, started)
        corpus.add_questions(plan.questions.values())
        corpus.record_run(experiment.name, lineage)
        folder.write("run.json", lineage)
        funnel = _sample_stage(plan, corpus, folder, say=say, progress=progress)
        if until != "sample":
            trainings = select_stage(plan, corpus, folder, say=say, progress=progress)
            funnel |= {"trained": {name: made.kept for name, made in trainings.items()}}
            folder.write("funnel.json", funnel)
        if until in ("train", "evaluate"):
            # torch is imported from here on: whoever only samples through an API never needs it
            from scotd.experiment.evaluation import answered, evaluate_stage
            from scotd.experiment.students import let_go, train_stage

            lineage |= _machine()
            folder.write("run.json", lineage)
            if until == "evaluate":
                show(tuple(cells.values()))
            trained: dict[str, int] = {}
            have = partial(answered, plan, corpus)
            for student in train_stage(plan, folder, trainings, answered=have, say=say, progress=progress):
                if student.chains is not None:
                    trained[student.name] = student.chains
                    folder.write("funnel.json", {**funnel, "trained": {**funnel["trained"], **trained}})
                if until == "evaluate":
                    for cell in evaluate_stage(plan, corpus, folder, student, progress=progress):
                        cells[cell.student, cell.split, cell.decoding] = cell
                        show(tuple(cells.values()))
                    let_go(plan, folder, student)
    folder.write("run.json", {**lineage, "finished": datetime.now(UTC).isoformat(timespec="seconds")})
    return Outcome(folder=plan.folder, cells=tuple(cell for cell in cells.values() if cell.done))


def afresh(experiment: Experiment) -> Experiment:
    """The same experiment with nothing to begin with. Raises DataError where its chains are imported."""
    if experiment.teacher.kind == "imported":
        raise DataError("--fresh: an imported teacher cannot be asked for its chains anew: leave it out.")
    assert experiment.run_folder is not None  # config.load fills it in
    return experiment.model_copy(update={"corpus": experiment.run_folder / "fresh.sqlite", "import_chains": None})


def _check_imported(plan: Plan) -> None:
    """Raise DataError where chains of an imported teacher are wanted and there is no corpus that could hold any."""
    wanted = plan.experiment.teacher.kind == "imported" and (plan.wants_sampled or plan.wants_greedy)
    if wanted and plan.experiment.import_chains is None and not plan.corpus_path.exists():
        raise DataError(
            f"corpus: {plan.corpus_path}: no such file, and an imported teacher writes no chains: name the corpus that "
            f"`scotd corpus import` filled."
        )


def _cells(plan: Plan) -> dict[tuple[str, str, str], Cell]:
    """What the run is to find out, nothing of it done."""
    return {
        (student, split, decoding): Cell(student=student, split=split, decoding=decoding, accuracy=None, done=False)
        for student in plan.experiment.students
        for split in plan.evaluated
        for decoding in plan.decodings(student, split)
    }


def build_teacher(
    experiment: Experiment,
    corpus: Corpus | None,
    *,
    say: Say,
    progress: Tracker,
    leave: threading.Event | None = None,
) -> Teacher:
    """The teacher that the file names, with what a corpus knows of its servers; it leaves what is under way when
    `leave` is set. Raises ModelError or TeacherError where it cannot be had."""
    config = experiment.teacher
    if config.kind == "openai":
        from scotd.teachers.openai import OpenAITeacher

        if corpus is None:
            return OpenAITeacher(config)
        teacher = OpenAITeacher(config, known=[one.cap for one in corpus.caps()])
        for cap in teacher.remembered:
            say(
                f"{cap.server} gave at most {cap.max_n} chains a request before: no more are asked for at once "
                f"(`scotd corpus servers {corpus.path} --forget` has it tried again)"
            )
        return teacher
    files = resolve(config.model, progress=progress)
    from scotd.teachers.local import LocalTeacher

    if leave is None:
        return LocalTeacher(config, files, progress)
    return LocalTeacher(config, files, progress, ray=experiment.ray, left=leave.is_set)


def _on_ray(experiment: Experiment) -> bool:
    """Whether workers on Ray write the teacher's chains: only where it is a model that runs here."""
    return experiment.engine == "ray" and experiment.teacher.kind == "local"


def _sample_stage(plan: Plan, corpus: Corpus, folder: RunFolder, *, say: Say, progress: Tracker) -> dict[str, Any]:
    """Ask for what is missing; returns the funnel of the chains, which is in the run folder too."""
    experiment = plan.experiment
    with folder.stage("sample") as record:
        shipped = plan.shipped
        if shipped is not None:
            say(f"sample: {shipped}: {import_parquet(corpus, shipped).taken_in()}")
        name = teacher_name(experiment.teacher)
        if experiment.teacher.kind == "imported":
            record.skipped = True
        else:
            wants = plan.wants()
            if lacking(corpus, name, wants):
                earlier = folder.counts("sample")

                def ended(report: SampleReport) -> None:  # of an interrupted sitting too
                    record.tokens = report.completion_tokens
                    record.counts = _with_earlier(report, earlier)

                leave = threading.Event() if _on_ray(experiment) else None
                if leave is not None:
                    from scotd.fleet import writer_of

                    say(f"sample: workers on Ray write the chains, with {writer_of(experiment.ray)}")
                report = sample(
                    corpus,
                    build_teacher(experiment, corpus, say=say, progress=progress, leave=leave),
                    wants,
                    seed=experiment.sampling.seed,
                    budget=_budget(experiment.teacher, corpus),
                    progress=progress,
                    ended=ended,
                    leave=leave,
                )
                _tell(report, say)
            else:
                record.skipped = True
                say(f"sample: all {sum(want.n for want in wants)} chains are in {plan.corpus_path}")
    funnel = _funnel(plan, corpus, name)
    folder.write("funnel.json", funnel)
    return funnel


def _budget(config: TeacherConfig, corpus: Corpus) -> Budget | None:
    """What may still be spent. Raises ConfigError where there is a limit and no price."""
    if config.max_cost is None:
        return None
    price = price_of(config)
    if price is None:
        raise ConfigError(
            f"teacher.max_cost: what {config.model} costs is not known: set teacher.prices, or pip install "
            "'scotd[prices]' for a list of public prices."
        )
    name = teacher_name(config)
    billed = corpus.billed(name)
    budget = Budget(
        most=Decimal(str(config.max_cost)),
        price=price,
        spent=price.of(prompt_tokens=billed.prompt_tokens or 0, completion_tokens=billed.completion_tokens or 0),
    )
    # What was under way at a kill, and answers that nobody counted, may have cost all they could.
    unknown = [(intent, 1) for intent in corpus.unaccounted() if intent.teacher == name] + corpus.uncounted(name)
    prompts = corpus.prompts({intent.prompt_id for intent, _ in unknown})
    budget.spent += sum(
        times * budget.greatest(prompts[intent.prompt_id], intent.sampling, len(intent.indices))
        for intent, times in unknown
    )
    return budget


def _with_earlier(report: SampleReport, earlier: Mapping[str, Any]) -> dict[str, object]:
    """Counts over all sittings, as seconds and tokens are."""
    return {
        "asked": earlier.get("asked", 0) + report.sent,
        "received": earlier.get("received", 0) + report.received,
        "failed": dict(Counter(earlier.get("failed", {})) + Counter(report.failed)),
    }


def _tell(report: SampleReport, say: Say) -> None:
    failed = f", {report.missing} missing ({report.failed})" if report.missing else ""
    rate = report.completion_tokens / report.seconds if report.seconds else 0
    say(
        f"sample: {report.received} of {report.asked} chains received{failed}, {report.already_there} were there; "
        f"{report.completion_tokens} tokens, {rate:.0f} a second"
    )
    if report.received == 0:
        raise TeacherError(f"The teacher gave none of the {report.asked} chains: {report.failed}.")


def _funnel(plan: Plan, corpus: Corpus, name: str) -> dict[str, Any]:
    rows: list[dict[str, object]] = []
    settings = plan.experiment.sampling
    for greedy, needed in ((False, plan.wants_sampled), (True, plan.wants_greedy)):
        if needed:
            pool = Pool.whole(plan, greedy=greedy)
            label = "temperature 0" if greedy else f"temperature {settings.temperature:g}, N = {pool.n}"
            rows.append(_funnel_row(label, pool.answers(corpus), plan.questions, len(plan.train) * pool.n))
    return {"teacher": {"name": name}, "rows": rows, "requests": asdict(corpus.requests(name))}


def _funnel_row(
    label: str, chains: Iterable[Answered], questions: Mapping[str, Question], asked: int
) -> dict[str, object]:
    received = parsed = correct = 0
    finish: Counter[str] = Counter()
    unparsed: Counter[str] = Counter()
    for chain in chains:
        received += 1
        parsed += chain.answer is not None
        unparsed.update([] if chain.reason is None else [chain.reason])
        correct += chain.answer is not None and chain.answer == questions[chain.question_key].gold
        finish[chain.finish] += 1
    return {
        "sampling": label,
        "asked": asked,
        "received": received,
        "parsed": parsed,
        "correct": correct,
        "finish": dict(finish),
        "unparsed": dict(unparsed),
    }


def _lineage(plan: Plan, started: str) -> dict[str, object]:
    experiment = plan.experiment
    return {
        "scotd": __version__,
        "git": git_state(),
        "versions": versions(),
        "seeds": {
            "sampling": experiment.sampling.seed,
            "training": experiment.training.seed,
            "evaluation": experiment.evaluation.seed,
        },
        "started": started,
        "notes": list(plan.notes),
        "configuration": portable(experiment.model_dump()),
    }


def _machine() -> dict[str, object]:
    from scotd.device import machine

    return {"machine": machine()}


def accuracy_line(cell: Cell) -> str:
    """A cell as a line of text, for a terminal."""
    start = f"{cell.student:<14} {cell.split:<10} {cell.decoding:<10}"
    found = cell.accuracy
    if found is None:
        return f"{start} no gold labels"
    interval = f"{found.interval.low:.1%} to {found.interval.high:.1%}"
    return f"{start} {found.rate:6.1%}  ({interval}), {found.unparsed} of {found.questions} unparsed"
