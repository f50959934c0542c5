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
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from scotd import __version__
from scotd.corpus.jsonl import Prompts, whole_or_not_at_all
from scotd.corpus.store import BULK, Corpus
from scotd.corpus.values import ChainsAdded
from scotd.errors import DataError
from scotd.types import Chain, Choice, Finish, Message, Prompt, Question, SamplingParams

FORMAT = 1
ROW_GROUP = 20_000  # rows held in memory while writing
READ_ROWS = 5_000  # prompts stand in every row

Row = dict[str, Any]


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


def export_parquet(
    corpus: Corpus,
    path: Path,
    *,
    task: str | None = None,
    split: str | None = None,
    teacher: str | None = None,
    sampling: SamplingParams | None = None,
) -> Exchanged:
    """Write questions (those without chains too), prompts and chains, in the order of question keys, as a stream.

    With a filter the prompts are those of the chains written, without one they are all. The file appears under its
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
        about = {"format": FORMAT, "scotd": __version__, **counts.as_json(), "runs": runs}
        writer.add_key_value_metadata({"scotd": json.dumps(about, ensure_ascii=False)})
    return Exchanged(questions=counts.questions, prompts=len(counts.prompts), chains=counts.chains, runs=len(runs))


def import_parquet(corpus: Corpus, path: Path) -> Exchanged:
    """Take in a file that `export_parquet` wrote, row group by row group. Doing it again changes nothing.

    Raises DataError where the file is none of ours, CorpusError where a question of the same key has another stem or
    other choices in the corpus.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    with file:
        about = _about(file.schema_arrow.metadata, file.metadata.metadata, path)
        counts = _Counts()
        added = ChainsAdded()
        changed = 0
        held: list[Chain] = []
        for batch in file.iter_batches(batch_size=READ_ROWS):
            questions, prompts, chains = _values(batch.to_pylist())
            fresh = {key: question for key, question in questions.items() if key != counts.last_key}
            changed += corpus.add_questions(fresh.values(), changes="keep").changed
            corpus.add_prompts(prompts.values())
            held += chains
            if len(held) >= BULK:
                added += corpus.add_chains(held)
                held = []
            counts.questions += len(fresh)
            counts.chains += len(chains)
            counts.prompts |= prompts.keys()
            counts.last_key = next(reversed(questions), counts.last_key)
        added += corpus.add_chains(held)
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
    """True for a Parquet file that `export_parquet` wrote: it needs no column mapping."""
    import pyarrow
    import pyarrow.parquet

    try:
        return b"scotd" in (pyarrow.parquet.read_metadata(path).metadata or {})
    except (OSError, pyarrow.ArrowInvalid):
        return False


@dataclass
class _Counts:
    """Running counts of a file's contents."""

    questions: int = 0
    chains: int = 0
    prompts: set[str] = field(default_factory=set)
    last_key: str | None = None  # rows are ordered by question: one that runs over a batch's end is counted once

    def as_json(self) -> dict[str, int]:
        return {"questions": self.questions, "prompts": len(self.prompts), "chains": self.chains}


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


def _values(batch: list[Row]) -> tuple[dict[str, Question], dict[str, Prompt], list[Chain]]:
    """Questions by key, prompts by id and chains of some rows."""
    questions: dict[str, Question] = {}
    prompts: dict[str, Prompt] = {}
    named: dict[str, str] = {}  # spelt-out prompt -> id, since hashing a long prompt for each of its chains is slow
    samplings: dict[str, SamplingParams] = {}
    chains = []
    for row in batch:
        prompt_id = _take_prompt(row, prompts, named)
        if row["task"] is None:
            continue
        key = f"{row['task']}/{row['question']}"
        if key not in questions:
            questions[key] = Question(
                id=row["question"],
                choices=tuple(Choice(**choice) for choice in row["choices"]),
                **{name: row[name] for name in ("task", "split", "stem", "gold", "pair")},
            )
        if row["text"] is None:
            continue
        assert prompt_id is not None, row
        if row["sampling"] not in samplings:
            samplings[row["sampling"]] = SamplingParams.from_json(json.loads(row["sampling"]))
        chains.append(
            Chain(
                question_key=key,
                prompt_id=prompt_id,
                teacher=row["teacher"],
                sampling=samplings[row["sampling"]],
                index=row["index"],
                text=row["text"],
                finish=Finish(row["finish"]),
                n_tokens=row["n_tokens"],
                mean_logprob=row["mean_logprob"],
            )
        )
    return questions, prompts, chains


def _take_prompt(row: Row, prompts: dict[str, Prompt], named: dict[str, str]) -> str | None:
    if row["prompt"] is None and row["messages"] is None:
        return None
    spelt = json.dumps(row["messages"]) if row["prompt"] is None else row["prompt"]
    kind = "text" if row["messages"] is None else "messages"
    found = named.get(kind + spelt)
    if found is None:
        if row["messages"] is None:
            prompt = Prompt(text=row["prompt"])
        else:
            prompt = Prompt(messages=tuple(Message(**message) for message in row["messages"]))
        found = named[kind + spelt] = prompt.id
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
