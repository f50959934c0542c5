"""`scotd corpus stats`, `show` and `servers`: what a corpus holds. All but `servers --forget` only read, also beside a
run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scotd.cli.terminal import heading, indented, json_line, safe, table, wrapped
from scotd.errors import CorpusError, DataError, did_you_mean

if TYPE_CHECKING:
    from scotd.corpus import Corpus, CorpusStats
    from scotd.types import Chain, Question, SamplingParams

CORPUS = click.argument("corpus", type=click.Path(path_type=Path))
TASK = click.option("--task", help="Only questions of this task.")
SPLIT = click.option("--split", help="Only questions of this split.")
TEACHER = click.option("--teacher", help="Only chains of this teacher, by the name that `stats` shows.")


@click.command(short_help="Count what a corpus holds.")
@CORPUS
@click.option("--json", "as_json", is_flag=True, help="The same as one line of JSON.")
def stats(corpus: Path, as_json: bool) -> None:
    """Count what a CORPUS holds: questions, chains by teacher, why they ended, requests and tokens."""
    with reading(corpus) as opened:
        counted = opened.stats()
    if as_json:
        click.echo(json_line(_stats_json(counted)))
        return
    for line in _stats_lines(counted):
        click.echo(line)


@click.command(short_help="Show chains with the answers found in them.")
@CORPUS
@click.argument("question", required=False, metavar="[QUESTION-KEY]")
@TASK
@SPLIT
@TEACHER
@click.option("--limit", type=click.IntRange(min=1), help="So many questions (3), or chains of a named question (all).")
def show(
    corpus: Path, question: str | None, task: str | None, split: str | None, teacher: str | None, limit: int | None
) -> None:
    """Show chains of a CORPUS with the answers found in them: of one question, named by its key (task/id) or id, or of
    the first few."""
    with reading(corpus) as opened:
        questions = opened.questions(task=task, split=split)
        if not questions:
            known = sorted({f"{one.task}, {one.split}" for one in opened.questions()})
            raise DataError(f"{corpus}: holds no such question. It has (task, split): {'; '.join(known) or 'nothing'}.")
        if teacher is not None:
            _require_teacher(opened, teacher)
        shown = questions[: limit or 3] if question is None else [_named(questions, question, corpus)]
        for one in shown:
            chains = list(opened.chains(question_keys=[one.key], teacher=teacher))
            for line in _question_lines(one, chains, limit if question is not None else None):
                click.echo(line)
        left = len(questions) - len(shown)
        if question is None and left:
            click.echo(f"({left} more questions; --limit shows more, a question's key shows that one)")


@click.command(short_help="Show, or forget, what servers were found to give at most.")
@CORPUS
@click.option("--forget", is_flag=True, help="Forget it: the next sitting finds out anew.")
def servers(corpus: Path, forget: bool) -> None:
    """Show how many chains a request the servers of a CORPUS were found to give at most. Sampling goes by it."""
    from scotd.corpus import Corpus

    with Corpus.open(corpus) if forget and corpus.is_file() else reading(corpus) as opened:
        known = opened.caps()
        if not known:
            click.echo("No server is known to give fewer chains a request than it was asked for.")
        for one in known:
            cap, day = one.cap, datetime.fromtimestamp(one.learned, UTC).date()
            click.echo(safe(f"{cap.server}, {cap.model}: at most {cap.max_n} chains a request, found on {day}"))
        if forget and known:
            click.echo(f"Forgotten: {opened.forget_caps()}.")


@contextmanager
def reading(path: Path) -> "Iterator[Corpus]":
    """Open a corpus for reading, with a remedy where the path is something else."""
    from scotd.corpus import Corpus

    if path.is_dir():
        inside = path / "corpus.sqlite"
        hint = f"give {inside}" if inside.is_file() else "a corpus is a file that ends in .sqlite by default"
        raise CorpusError(f"{path}: this is a folder; {hint}.")
    if path.suffix.lower() in (".parquet", ".pq", ".jsonl"):
        raise CorpusError(
            f"{path}: a file to give away and no corpus: `scotd corpus import NEW.sqlite {path}` makes one of it."
        )
    with Corpus.open(path, "ro") as corpus:
        yield corpus


def sampling_name(sampling: "SamplingParams") -> str:
    """Sampling parameters in a few words."""
    named = ["greedy"] if sampling.temperature == 0 else [f"temperature {sampling.temperature:g}"]
    if sampling.top_p < 1:
        named.append(f"top-p {sampling.top_p:g}")
    if sampling.top_k > 0:
        named.append(f"top-k {sampling.top_k}")
    if sampling.min_p > 0:
        named.append(f"min-p {sampling.min_p:g}")
    return ", ".join([*named, f"{sampling.max_tokens} tokens"])


def _stats_json(counted: "CorpusStats") -> dict[str, object]:
    value = asdict(counted)
    for row, count in zip(value["chains"], counted.chains, strict=True):
        row["sampling"] = count.sampling.to_json()
    return value


def _stats_lines(counted: "CorpusStats") -> Iterator[str]:
    yield from table(
        [
            ("task", "split", "questions", "labelled", "with chains"),
            *((one.task, one.split, one.questions, one.labelled, one.with_chains) for one in counted.questions),
        ]
    )
    yield ""
    reasons = sorted({reason for one in counted.chains for reason in one.finish})
    yield from table(
        [
            ("teacher", "sampling", "chains", "questions", "tokens", *(f"ended: {reason}" for reason in reasons)),
            *(
                (
                    one.teacher,
                    sampling_name(one.sampling),
                    one.chains,
                    one.questions,
                    one.tokens if one.counted else "unknown",
                    *(one.finish.get(reason, 0) for reason in reasons),
                )
                for one in counted.chains
            ),
        ]
    )
    yield ""
    requests = counted.requests
    yield (
        f"requests: {requests.ok:,} answered, {requests.failed:,} failed; "
        f"{requests.prompt_tokens:,} prompt tokens and {requests.completion_tokens:,} completion tokens where the "
        "server said"
    )
    if requests.unaccounted:
        yield (
            f"unaccounted: {requests.unaccounted:,} requests for {requests.unaccounted_chains:,} chains were sent and "
            "their outcome never learnt (killed, or still under way): they may have cost"
        )
    if requests.failures:
        yield f"failed: {', '.join(f'{safe(kind)} {count:,}' for kind, count in requests.failures.items())}"
    if requests.lost or requests.unreadable or requests.unsaid:
        yield (
            f"not counted: {requests.lost:,} answers lost on the way, {requests.unreadable:,} that could not be read, "
            f"{requests.unsaid:,} without a count: they may have cost"
        )
    if counted.duplicates:
        yield f"set aside: {counted.duplicates:,} other texts under an identity that was taken"
    yield (
        f"prompts: {counted.prompts:,}; selections: {counted.selections:,}; predictions: {counted.predictions:,}; "
        f"runs and imports: {counted.runs:,}"
    )
    for kind, count in counted.scores.items():
        yield f"scores: {count:,} of {safe(kind)}"


def _named(questions: "list[Question]", name: str, corpus: Path) -> "Question":
    found = [one for one in questions if name in (one.key, one.id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{corpus}: several questions have the id '{name}': {', '.join(one.key for one in found)}.")
    near = did_you_mean(name, [one.key for one in questions])
    hint = near if near.startswith(" Did") else f" The first is '{questions[0].key}'."
    raise DataError(f"{corpus}: no question '{name}' among {len(questions)}.{hint}")


def _require_teacher(corpus: "Corpus", teacher: str) -> None:
    known = {one.teacher for one in corpus.stats().chains}
    if teacher not in known:
        raise DataError(f"{corpus.path}: holds no chain of the teacher '{teacher}'.{did_you_mean(teacher, known)}")


def _question_lines(question: "Question", chains: "list[Chain]", limit: int | None) -> Iterator[str]:
    """A question with its chains, by teacher and sampling, each with its answer or why it has none."""
    from scotd.answers import parse

    yield heading(f"{question.key} ({question.split})")
    yield indented(question.stem, "  ")
    for choice in question.choices:
        mark = " <- label" if choice.label == question.gold else ""
        shown = choice.label if question.has_label_set else f"({choice.label}) {choice.text}"
        yield f"    {safe(shown)}{mark}"
    if question.gold is None:
        yield "    no label"
    before = None
    ordered = sorted(chains, key=lambda chain: (chain.teacher, -chain.sampling.temperature, chain.sampling.id))
    for chain in ordered[:limit]:
        group = f"{chain.teacher}, {sampling_name(chain.sampling)}"
        if group != before:
            yield f"  {safe(group)}:"
            before = group
        parsed = parse(chain.text, question, chain.finish)
        answer = f"- {parsed.reason}" if parsed.answer is None else parsed.answer
        verdict = "" if question.gold is None or parsed.answer is None else _verdict(parsed.answer == question.gold)
        yield wrapped(f"{chain.index:>3} [{answer}{verdict}] {chain.text.strip()}", "  ", "        ")
    if not chains:
        yield "  no chains"
    elif limit is not None and len(chains) > limit:
        yield f"  ({len(chains) - limit} more chains)"
    yield ""


def _verdict(right: bool) -> str:
    return ", right" if right else ", wrong"
