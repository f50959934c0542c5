"""`scotd corpus import` and `scotd corpus export`: chains of others in, chains for others out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scotd.cli.base import load, require_local, say
from scotd.cli.corpus import CORPUS, SPLIT, TASK, TEACHER, reading
from scotd.cli.terminal import safe
from scotd.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from scotd.config import PromptConfig
    from scotd.corpus import Corpus, ImportReport, JsonlForm
    from scotd.experiment import Plan
    from scotd.types import Question, TrainingExample

EXPERIMENT = click.option(
    "--experiment", type=click.Path(path_type=Path), help="Experiment file that knows the questions and the templates."
)


@click.command("import", short_help="Take chains from files into a corpus.")
@CORPUS
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", help="Name of their teacher: the chains are kept under import:NAME.")
@EXPERIMENT
@click.option("--task", help="The questions that the chains answer: a built-in task ...")
@click.option("--path", "folder", type=click.Path(path_type=Path), help="... and the folder with its official files.")
@click.option("--question", metavar="COLUMN", help="Column with the question's text, with or without its choices.")
@click.option("--id", "identity", metavar="COLUMN", help="Column with the question's id.")
@click.option("--ids", metavar="FILE:COLUMN", help="The question of each row, in order, from another file.")
@click.option("--choices", metavar="COLUMN", help="Column with the choices; they must be the question's.")
@click.option("--text", metavar="COLUMN", help="Column with the whole chain ...")
@click.option("--rationale", metavar="COLUMN", help="... or with the rationale alone ...")
@click.option("--answer", metavar="COLUMN", help="... and with the answer.")
@click.option("--gold", metavar="COLUMN", help="Column with the label: compared and counted, never taken over.")
@click.option("--prompt", metavar="COLUMN", help="Column with what the teacher was given.")
@click.option("--temperature", type=click.FloatRange(min=0), help="Chains' temperature.  [default: 1.0]")
@click.option("--stop", multiple=True, metavar="TEXT", help=r"Cut texts here; \n is a line break.")
@click.option(
    "--unmatched",
    type=click.Choice(["refuse", "skip"]),
    default="refuse",
    show_default=True,
    help="Rows that fit no question: take in nothing, or leave them out and count them.",
)
def import_chains(corpus: Path, files: tuple[Path, ...], unmatched: str, stop: tuple[str, ...], **given: Any) -> None:
    """Take chains from FILES (Parquet, JSON, JSONL, CSV, TSV; also .gz) into a CORPUS, which is made where there is
    none. What `scotd corpus export` wrote needs no options; of anything else say what its columns hold:

    \b
    scotd corpus import quarel.sqlite gpt3.json --name gpt3 --task quarel --path data/quarel
        --question question --rationale explanation --answer predicted --gold label
    """
    refuse_other_files(corpus)
    ours = _check_files(files)
    mapped = [option for option, value in given.items() if value is not None]
    if ours:
        if mapped:
            raise ConfigError(
                f"{files[0]}: written by `scotd corpus export`, so it needs no --{_option(mapped[0])}: leave it out."
            )
        _import_ours(corpus, files)
        return
    _import_foreign(corpus, files, stop=stop, unmatched=unmatched, **given)


@click.command("export", short_help="Write chains to a Parquet or JSONL file.")
@CORPUS
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--form",
    type=click.Choice(["prompt-completion", "messages", "tokens"]),
    help="Of a .jsonl: TRL's prompt and completion (the default), the messages of a chat, or with --student the very "
    "tokens and labels of its training.",
)
@TASK
@SPLIT
@TEACHER
@EXPERIMENT
@click.option(
    "--selection",
    type=click.Choice(["correct", "all", "majority"]),
    help="With --experiment: which chains are written.  [default: correct]",
)
@click.option("--student", metavar="NAME", help="With --experiment: exactly what this student of it is trained on.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def export_chains(
    corpus: Path,
    out: Path,
    form: str | None,
    task: str | None,
    split: str | None,
    teacher: str | None,
    experiment: Path | None,
    selection: str | None,
    student: str | None,
    force: bool,
) -> None:
    """Write chains of a CORPUS to OUT: .parquet holds everything and can be imported again, .jsonl is for other
    training tools. With --experiment a .jsonl holds what students are trained on: their prompt, their target, and the
    selected ones of the sampled chains, or of the greedy ones where all students are of target greedy-cot; with
    --student those of one student, its filter included; otherwise the teacher's prompt and its raw text."""
    kind = out.suffix.lower()
    if kind not in (".parquet", ".jsonl"):
        raise ConfigError(f"{out}: name a file that ends in .parquet or .jsonl.")
    if kind == ".parquet" and (form is not None or experiment is not None):
        raise ConfigError(f"{out}: --{'form' if form is not None else 'experiment'} is for a .jsonl: leave it out.")
    for option, value in (("selection", selection), ("student", student)):
        if value is not None and experiment is None:
            raise ConfigError(f"--{option} needs --experiment, whose questions and templates it goes by.")
    if selection is not None and student is not None:
        raise ConfigError("--student has a selection of its own in the experiment: leave --selection out.")
    if experiment is not None and (task, split, teacher) != (None, None, None):
        raise ConfigError("--experiment says which chains: leave --task, --split and --teacher out.")
    if form == "tokens" and student is None:
        raise ConfigError("--form tokens needs --experiment and --student, whose tokenizer it goes by.")
    if out.exists() and not force:
        raise ConfigError(f"{out}: is there already; --force writes over it.")
    if experiment is not None and student is not None:
        click.echo(f"{out}: {_write_student(corpus, out, experiment, student, form)} examples")
        return
    written_as: JsonlForm = "messages" if form == "messages" else "prompt-completion"
    with reading(corpus) as opened:
        check_filter(opened, task, split, teacher)
        if kind == ".parquet":
            from scotd.corpus import export_parquet

            done = export_parquet(opened, out, task=task, split=split, teacher=teacher)
            click.echo(f"{out}: {done.chains} chains, {done.questions} questions, {done.prompts} prompts")
            return
        from scotd.corpus import export_jsonl

        trained = {} if experiment is None else _as_trained(opened, experiment, selection or "correct")
        written = export_jsonl(
            opened,
            out,
            form=written_as,
            task=task,
            split=split,
            teacher=teacher,
            **trained,
        )
    click.echo(f"{out}: {written} chains")


def refuse_other_files(corpus: Path) -> None:
    """Raise ConfigError where the corpus to fill is by its name a file of another kind."""
    if corpus.suffix.lower() in (".parquet", ".pq", ".jsonl", ".json", ".csv", ".tsv", ".yaml"):
        raise ConfigError(f"{corpus}: the first argument is the corpus to fill, for instance chains.sqlite.")


def _check_files(files: Sequence[Path]) -> bool:
    """True where all files are exports of ours; a mixture is refused."""
    from scotd.corpus import is_exported

    for path in files:
        if not path.is_file():
            raise DataError(f"{path}: no such file.")
    ours = [path for path in files if path.suffix.lower() in (".parquet", ".pq") and is_exported(path)]
    if ours and len(ours) < len(files):
        raise ConfigError(
            f"{ours[0]} is a `scotd corpus export`, other files are not: import them one after the other."
        )
    return bool(ours)


def _import_ours(corpus: Path, files: Sequence[Path]) -> None:
    from scotd.corpus import import_parquet

    with writing(corpus) as opened:
        for path in files:
            click.echo(f"{path}: {import_parquet(opened, path).taken_in()}")


def _import_foreign(
    corpus: Path,
    files: Sequence[Path],
    *,
    name: str | None,
    experiment: Path | None,
    task: str | None,
    folder: Path | None,
    stop: Sequence[str],
    unmatched: str,
    temperature: float | None,
    ids: str | None,
    identity: str | None,
    **columns: str | None,
) -> None:
    from scotd.corpus import ImportColumns
    from scotd.corpus import import_chains as take_in
    from scotd.prompts import Templates, target_text
    from scotd.types import SamplingParams

    if name is None:
        raise ConfigError("--name is missing: the teacher of these chains, for instance --name gpt3.")
    if (columns["text"] is None) == (columns["rationale"] is None and columns["answer"] is None):
        raise ConfigError("which columns hold the chains? Give --text, or --rationale and --answer.")
    if (ids is None) == (columns["question"] is None and identity is None):
        raise ConfigError("how is the question of a row known? Give --question, --id or both, or else --ids.")
    held = ImportColumns(id=identity, **columns)
    questions, prompt = _questions(corpus, experiment, task, folder)
    templates = Templates.of(prompt)
    listed = None if ids is None else _ids(ids)
    with writing(corpus) as opened:
        report = take_in(
            opened,
            files,
            name=name,
            columns=held,
            questions=questions,
            render=lambda question, rationale, label: target_text(question, rationale, label, templates),
            sampling=SamplingParams(
                temperature=1.0 if temperature is None else temperature,
                stop=tuple(text.replace("\\n", "\n") for text in stop),
            ),
            ids=listed,
            unmatched="skip" if unmatched == "skip" else "refuse",
        )
    for line in _report_lines(report):
        click.echo(line)
    kind = ", and students of target greedy-cot" if temperature == 0 else ""
    say(f'To train on them: teacher: {{kind: imported, name: "{report.teacher}"}} and corpus: {corpus}{kind}')


def _questions(
    corpus: Path, experiment: Path | None, task: str | None, folder: Path | None
) -> "tuple[list[Question], PromptConfig]":
    """The known questions: of an experiment, of a built-in task, or those that the corpus has already."""
    from scotd.config import PromptConfig, QuestionsConfig
    from scotd.tasks import load_questions

    if experiment is not None:
        if task is not None or folder is not None:
            raise ConfigError("--experiment knows the questions: leave --task and --path out.")
        settings = load(experiment, ())
        return load_questions(settings.questions.model_copy(update={"limit": {}})), settings.prompt
    if task is not None:
        return load_questions(QuestionsConfig(task=task, path=folder)), PromptConfig()
    if folder is not None:
        raise ConfigError("--path needs --task: which benchmark is it?")
    if corpus.is_file():
        with reading(corpus) as opened:
            known = opened.questions()
        if known:
            return known, PromptConfig()
    raise ConfigError(
        "which questions do these chains answer? Give --task (with --path), or --experiment with a file that has them."
    )


def _ids(value: str) -> list[str]:
    from scotd.corpus import column

    path, colon, name = value.rpartition(":")
    if not colon or not path or not name:
        raise ConfigError(f"--ids {value}: expected FILE:COLUMN, for instance train.jsonl:id.")
    return [str(one) for one in column(Path(path), name)]


def _report_lines(report: "ImportReport") -> Iterator[str]:
    added = report.added
    yield (
        f"{report.teacher}: {report.rows} rows, {added.new + added.same} chains for {report.questions} questions "
        f"({added.new} new, {added.same} were there)"
    )
    if added.duplicate:
        yield f"  {added.duplicate} set aside: another text stands under their identity"
    for count, what in (
        (report.cut, "texts cut at a stop"),
        (report.unknown_answers, "answers that are none of the choices, kept as they are"),
        (report.gold_differs, "rows with another label than the question's, which stands"),
    ):
        if count:
            yield f"  {count} {what}"
    if report.problems:
        yield f"  {len(report.problems)} rows left out:"
        for reason, count in Counter(problem.reason for problem in report.problems).most_common():
            first = next(problem for problem in report.problems if problem.reason == reason)
            yield safe(f"    {count} because {reason}, the first: {first.path}, row {first.row} ('{first.value}')")


def _write_student(corpus: Path, out: Path, experiment: Path, student: str, form: str | None) -> int:
    """The training examples of one student, chosen as `scotd run` chooses them; returns how many."""
    from scotd.corpus import Corpus, export_pairs, export_tokens
    from scotd.experiment import Plan
    from scotd.experiment.selections import examples_of
    from scotd.progress import track

    plan = Plan.of(load(experiment, ()))
    known = plan.experiment.students
    if student not in known:
        raise ConfigError(f"--student {student}: {experiment} has none of that name.{did_you_mean(student, known)}")
    if not known[student].target.trained:
        raise ConfigError(f"--student {student}: its target is {known[student].target}, it is not trained.")
    if not corpus.is_file():
        raise DataError(f"{corpus}: no such corpus.")
    with Corpus.open(corpus) as opened:
        made = examples_of(plan, opened, student, track)
        for reason, count in {"kept": made.kept, **made.dropped}.items():
            say(f"{reason}: {count}")
        if form == "tokens":
            written = export_tokens(out, _tokens(plan, student, made.stream()))
            if written < made.kept:
                say(f"longer than training.max_length, left out: {made.kept - written}")
            return written
        pairs = (
            (one.question_key, one.prompt, target, finished)
            for one in made.stream()
            for target, finished in zip(one.targets, one.finished, strict=True)
        )
        return export_pairs(out, pairs, form="messages" if form == "messages" else "prompt-completion")


def _tokens(
    plan: "Plan", student: str, examples: "Iterable[TrainingExample]"
) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
    """Question key, prompt and target of every chain, in the tokens that the student is trained on."""
    require_local()
    from scotd.models import resolve
    from scotd.token_store import tokenize
    from scotd.tokens import load_tokenizer

    tokenizer = load_tokenizer(resolve(plan.experiment.students[student].model or plan.experiment.student))
    longest = plan.experiment.training_of(student).max_length
    for example in examples:
        for encoded in tokenize([example], tokenizer, longest):
            for branch in encoded.branches:
                yield example.question_key, encoded.prompt, branch.tokens


def _as_trained(corpus: "Corpus", experiment: Path, selection: str) -> dict[str, Any]:
    """Prompts, targets and the selected chains, as the experiment's students are trained on them."""
    from scotd.experiment import Plan
    from scotd.experiment.examples import chain_target
    from scotd.experiment.selections import Pool
    from scotd.prompts import student_prompt
    from scotd.select import select

    plan = Plan.of(load(experiment, ()))
    pool = Pool.whole(plan, greedy=plan.wants_greedy and not plan.wants_sampled)
    counts: Counter[str] = Counter(kept=0)

    def kept() -> Iterator[str]:
        for fate in select(selection, pool.answers(corpus), plan.questions):
            counts[fate.dropped or "kept"] += 1
            if fate.dropped is None:
                yield fate.chain_id
        for reason, count in counts.items():
            say(f"{reason}: {count}")

    return {
        "chain_ids": kept(),
        "prompt_of": lambda question: student_prompt(question, plan.templates),
        "completion_of": partial(chain_target, plan),
    }


def check_filter(corpus: "Corpus", task: str | None, split: str | None, teacher: str | None) -> None:
    """A filter that nothing passes is a slip of the pen, not a wish for an empty file."""
    counted = corpus.stats()
    for option, value, known in (
        ("--task", task, {one.task for one in counted.questions}),
        ("--split", split, {one.split for one in counted.questions}),
        ("--teacher", teacher, {one.teacher for one in counted.chains}),
    ):
        if value is not None and value not in known:
            raise DataError(f"{option} {value}: {corpus.path} holds none.{did_you_mean(value, known)}")


@contextmanager
def writing(path: Path) -> "Iterator[Corpus]":
    """Open a corpus for writing; one that was made for something that failed is not left behind."""
    from scotd.corpus import Corpus

    made, empty = not path.exists(), False
    try:
        with Corpus.open(path) as corpus:
            try:
                yield corpus
            except BaseException:
                empty = made and not corpus.questions()
                raise
    finally:
        if empty:
            path.unlink(missing_ok=True)


def _option(parameter: str) -> str:
    return {"folder": "path", "identity": "id"}.get(parameter, parameter)
