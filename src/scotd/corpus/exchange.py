"""Corpora as Parquet files to give away, there and back without a loss.

The Parquet file has one row a chain with its question and prompt spelt out (`pandas.read_parquet`, `load_dataset` and
a reader's eye need nothing else); the repetition costs little, it is dictionary-encoded and compressed. A question
without chains has a row without `text`, a prompt without chains a row without `task`. The lineage of all runs and the
counts stand in the file's metadata, under `scotd`.

    export_parquet(corpus, Path("feedback.parquet"), task="feedback")
    import_parquet(corpus, Path("feedback.parquet"))
"""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from scotd import __version__
from scotd.corpus.jsonl import Prompts, whole_or_not_at_all
from scotd.corpus.store import BULK, Corpus
from scotd.corpus.values import ChainsAdded
from scotd.errors import DataError
from scotd.types import Chain, Choice, Finish, Prompt, Question, SamplingParams

FORMAT = 1
ROW_GROUP = 20_000  # rows held in memory while writing
READ_ROWS = 5_000  # prompts stand in every row

Row = dict[str, Any]
_FINISHES = {finish.value: finish for finish in Finish}


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """What went into a Parquet file, or came out of it; `added` says what was new in the corpus that took it in.

    `changed` questions have another gold label, split or pair in the corpus, which keeps its own.
    """

    questions: int
    prompts: int
    chains: int
    runs: int
    added: ChainsAdded | None = None
    changed: int = 0

    def taken_in(self) -> str:
        """What an import did, in words."""
        assert self.added is not None, self
        aside = f", {self.added.duplicate} set aside, as others stand in their place" if self.added.duplicate else ""
        changed = f", of which {self.changed} differ in label, split or pair and stay as they were"
        return (
            f"{self.chains} chains ({self.added.new} new, {self.added.same} were there{aside}), "
            f"{self.questions} questions{changed if self.changed else ''}"
        )


def export_parquet(
    corpus: Corpus,
    path: Path,
    *,
    task: str | None = None,
    split: str | None = None,
    teacher: str | None = None,
    sampling: SamplingParams | None = None,
    servers: bool = True,
) -> Exchanged:
    """Write questions (those without chains too), prompts and chains, in the order of question keys, as a stream.

    With a filter the prompts are those of the chains written, without one they are all. Without `servers` the lineage
    goes without their addresses, which are nobody's business where a corpus is published. The file appears under its
    name when it is whole.
    """
    import pyarrow.parquet

    every_prompt = all(given is None for given in (task, split, teacher, sampling))
    counts = _Counts()
    with (
        whole_or_not_at_all(path) as part,
        pyarrow.parquet.ParquetWriter(
            part,
            _schema(),
            compression="zstd",
            compression_level=9,
            dictionary_pagesize_limit=64 << 20,  # few-shot prompts are long: the default gives up after 1 MiB
            write_page_index=False,
        ) as writer,
    ):
        chains = corpus.chains(teacher=teacher, sampling=sampling, task=task, split=split)
        rows = _rows(corpus, corpus.questions(task=task, split=split), chains, every_prompt, counts)
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=_schema()))
        runs = [asdict(record) for record in corpus.runs()]
        runs = runs if servers else _without(runs, "base_url")
        about = {"format": FORMAT, "scotd": __version__, **counts.as_json(), "runs": runs}
        writer.add_key_value_metadata({"scotd": json.dumps(about, ensure_ascii=False)})
    return Exchanged(questions=counts.questions, prompts=len(counts.prompts), chains=counts.chains, runs=len(runs))


def import_parquet(corpus: Corpus, path: Path) -> Exchanged:
    """Take in a file that `export_parquet` wrote, row group by row group. Doing it again changes nothing.

    Raises DataError where the file is none of ours, CorpusError where a question of the same key has another stem or
    other choices in the corpus.
    """
    import pyarrow.parquet

    with (
        _readable(path),
        pyarrow.parquet.ParquetFile(path) as file,
        ThreadPoolExecutor(1) as beside,  # reading goes on while the chains before are being committed
    ):
        about = _about(file.schema_arrow.metadata, file.metadata.metadata, path)
        counts = _Counts()
        storing: Future[ChainsAdded] = beside.submit(ChainsAdded)
        added = ChainsAdded()
        changed = 0
        held: list[Chain] = []
        for batch in file.iter_batches(batch_size=READ_ROWS):
            questions, prompts, chains = _values(batch)
            fresh = {key: question for key, question in questions.items() if key != counts.last_key}
            changed += corpus.add_questions(fresh.values(), changes="keep").changed
            corpus.add_prompts(prompts.values())
            held += chains
            if len(held) >= BULK:
                added += storing.result()
                storing = beside.submit(corpus.add_chains, held)
                held = []
            counts.questions += len(fresh)
            counts.chains += len(chains)
            counts.prompts |= prompts.keys()
            counts.last_key = next(reversed(questions), counts.last_key)
        added += storing.result() + corpus.add_chains(held)
    if counts.as_json() != {name: about[name] for name in counts.as_json()}:
        raise DataError(f"{path}: holds {counts.as_json()}, not what it says of itself. Fetch it again.")
    for record in about["runs"]:
        corpus.record_run(record["run"], record["lineage"])
    return Exchanged(
        questions=counts.questions,
        prompts=len(counts.prompts),
        chains=counts.chains,
        runs=len(about["runs"]),
        added=added,
        changed=changed,
    )


def is_exported(path: Path) -> bool:
    """True for a Parquet file that `export_parquet` wrote: it needs no column mapping. Raises DataError where it is no
    Parquet file."""
    import pyarrow.parquet

    with _readable(path):
        return b"scotd" in (pyarrow.parquet.read_metadata(path).metadata or {})


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What is wrong with a file's bytes as a DataError, wherever in it reading comes upon it."""
    import pyarrow

    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: cannot be read as Parquet ({said}). Fetch or export it again.") from None


@dataclass
class _Counts:
    """Running counts of a file's contents."""

    questions: int = 0
    chains: int = 0
    prompts: set[str] = field(default_factory=set)
    last_key: str | None = None  # rows are ordered by question: one that runs over a batch's end is counted once

    def as_json(self) -> dict[str, int]:
        return {"questions": self.questions, "prompts": len(self.prompts), "chains": self.chains}


def _without(value: Any, name: str) -> Any:
    """JSON values without the entries of a name, however deep."""
    if isinstance(value, dict):
        return {key: _without(held, name) for key, held in value.items() if key != name}
    return [_without(held, name) for held in value] if isinstance(value, list) else value


def _schema() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        [
            ("task", text),
            ("split", text),
            ("question", text),
            ("stem", text),
            ("choices", pa.list_(pa.struct([("label", text), ("text", text)]))),
            ("gold", text),
            ("pair", text),
            ("prompt", text),
            ("messages", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("teacher", text),
            ("sampling", text),
            ("index", number),
            ("text", text),
            ("finish", text),
            ("n_tokens", number),
            ("mean_logprob", pa.float64()),
        ]
    )


def _rows(
    corpus: Corpus, questions: list[Question], chains: Iterator[Chain], every_prompt: bool, counts: _Counts
) -> Iterator[Row]:
    """Merge two streams that are both ordered by question key into rows, counting."""
    prompts = Prompts(corpus)
    chain = next(chains, None)
    for question in questions:
        counts.questions += 1
        shared = _question_row(question)
        if chain is None or chain.question_key != question.key:
            yield shared
        while chain is not None and chain.question_key == question.key:
            counts.chains += 1
            counts.prompts.add(chain.prompt_id)
            yield {**shared, **_prompt_row(prompts[chain.prompt_id]), **_chain_row(chain)}
            chain = next(chains, None)
    assert chain is None, f"chain of a question that came later: {chain}"
    if every_prompt:
        for name, prompt in corpus.prompts().items():
            if name not in counts.prompts:
                counts.prompts.add(name)
                yield _prompt_row(prompt)


def _question_row(question: Question) -> Row:
    return {
        "task": question.task,
        "split": question.split,
        "question": question.id,
        "stem": question.stem,
        "choices": [{"label": choice.label, "text": choice.text} for choice in question.choices],
        "gold": question.gold,
        "pair": question.pair,
    }


def _prompt_row(prompt: Prompt) -> Row:
    if prompt.messages is None:
        return {"prompt": prompt.text}
    return {"messages": prompt.to_json()}


def _chain_row(chain: Chain) -> Row:
    return {
        "teacher": chain.teacher,
        "sampling": json.dumps(chain.sampling.to_json(), ensure_ascii=False),
        "index": chain.index,
        "text": chain.text,
        "finish": chain.finish.value,
        "n_tokens": chain.n_tokens,
        "mean_logprob": chain.mean_logprob,
    }


def _values(batch: Any) -> tuple[dict[str, Question], dict[str, Prompt], list[Chain]]:
    """Questions by key, prompts by id and chains of some rows, of which only what differs is made into values."""
    column = {
        name: batch.column(name).to_pylist() for name in batch.schema.names if name not in {"choices", "messages"}
    }
    choices, messages = batch.column("choices"), batch.column("messages")
    without_messages = messages.is_null().to_pylist()
    questions: dict[str, Question] = {}
    prompts: dict[str, Prompt] = {}
    named: dict[str, str] = {}  # spelt-out prompt -> id, since hashing a long prompt for each of its chains is slow
    samplings: dict[str, SamplingParams] = {}
    chains = []
    for row, (task, name, text) in enumerate(zip(column["task"], column["question"], column["text"], strict=True)):
        prompt_id = None
        if column["prompt"][row] is not None or not without_messages[row]:
            said = messages[row].as_py() if column["prompt"][row] is None else column["prompt"][row]
            prompt_id = _take_prompt(said, prompts, named)
        if task is None:
            continue
        key = f"{task}/{name}"
        if key not in questions:
            questions[key] = Question(
                id=name,
                task=task,
                choices=tuple(Choice(**choice) for choice in choices[row].as_py()),
                **{field: column[field][row] for field in ("split", "stem", "gold", "pair")},
            )
        if text is None:
            continue
        assert prompt_id is not None, key
        sampling = column["sampling"][row]
        if sampling not in samplings:
            samplings[sampling] = SamplingParams.from_json(json.loads(sampling))
        chains.append(
            Chain(
                question_key=key,
                prompt_id=prompt_id,
                teacher=column["teacher"][row],
                sampling=samplings[sampling],
                index=column["index"][row],
                text=text,
                finish=_FINISHES[column["finish"][row]],
                n_tokens=column["n_tokens"][row],
                mean_logprob=column["mean_logprob"][row],
            )
        )
    return questions, prompts, chains


def _take_prompt(said: str | list[dict[str, Any]], prompts: dict[str, Prompt], named: dict[str, str]) -> str:
    """Id of a prompt, which is a text or messages, and the prompt itself into `prompts`."""
    spelt = f"text {said}" if isinstance(said, str) else f"messages {json.dumps(said)}"
    found = named.get(spelt)
    if found is None:
        prompt = Prompt.from_json(said)
        found = named[spelt] = prompt.id
        prompts[found] = prompt
    return found


def _about(schema_metadata: Any, file_metadata: Any, path: Path) -> dict[str, Any]:
    """What the file says of itself."""
    value = {**(schema_metadata or {}), **(file_metadata or {})}.get(b"scotd")
    if value is None:
        raise DataError(
            f"{path}: not written by `scotd corpus export`. Say which of its columns hold what (a column mapping)."
        )
    about: dict[str, Any] = json.loads(value)
    if about["format"] > FORMAT:
        raise DataError(f"{path}: of format {about['format']}, this scotd reads up to {FORMAT}. Install a newer scotd.")
    return about
