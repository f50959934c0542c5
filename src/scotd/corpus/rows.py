"""Values to table rows and back; the rules by which a row enters a table."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scotd.corpus.values import ChainsAdded, QuestionsAdded, RequestIntent
from scotd.corpus.writer import Tables
from scotd.errors import CorpusError
from scotd.types import (
    Chain,
    Choice,
    Prompt,
    Question,
    SamplingParams,
)

QUESTION_COLUMNS = "task, name, split, stem, choices, gold, pair"
QuestionRow = tuple[str, str, str, str, str, str | None, str | None]


def storable(text: str) -> str:
    """The text with each lone surrogate as U+FFFD: half an emoji, cut by a token limit, is not storable as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def question_row(question: Question) -> QuestionRow:
    choices = to_json([[choice.label, choice.text] for choice in question.choices])
    return question.task, question.id, question.split, question.stem, choices, question.gold, question.pair


def question_of(row: QuestionRow) -> Question:
    task, name, split, stem, choices, gold, pair = row
    pairs = tuple(Choice(label=label, text=text) for label, text in json.loads(choices))
    return Question(id=name, task=task, split=split, stem=stem, choices=pairs, gold=gold, pair=pair)


def insert_questions(tables: Tables, rows: Sequence[tuple[str, QuestionRow]], changes: str) -> QuestionsAdded:
    """Store questions by key. A stored one with another stem or other choices is another question: CorpusError.

    Where only gold label, split or pair differ, `changes` says whether the new ("update") or the stored ones ("keep")
    stand.
    """
    new = same = changed = 0
    for key, row in rows:
        stored = tables.connection.execute(f"SELECT {QUESTION_COLUMNS} FROM questions WHERE key = ?", (key,)).fetchone()
        if stored is None:
            insert = f"INSERT INTO questions (key, {QUESTION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            tables.connection.execute(insert, (key, *row))
            new += 1
        elif stored == row:
            same += 1
        elif stored[3:5] != row[3:5]:
            raise CorpusError(
                f"question '{key}' is in the corpus with other words ('{_short(stored[3])}', now "
                f"'{_short(row[3])}', or other choices). Its chains answer the stored one: give the new "
                "one another id, or use a new corpus."
            )
        else:
            changed += 1
            if changes == "update":
                update = "UPDATE questions SET split = ?, gold = ?, pair = ? WHERE key = ?"
                tables.connection.execute(update, (row[2], row[5], row[6], key))
    return QuestionsAdded(new=new, same=same, changed=changed)


def insert_prompts(tables: Tables, rows: Iterable[tuple[str, str]]) -> int:
    """Store prompts (digest, body); returns how many were new."""
    before = tables.connection.total_changes
    tables.connection.executemany("INSERT OR IGNORE INTO prompts (digest, body) VALUES (?, ?)", rows)
    return tables.connection.total_changes - before


def prompt_row(prompt: Prompt) -> tuple[str, str]:
    return prompt.id, to_json(prompt.to_json())


def sampling_row(sampling: SamplingParams) -> tuple[str, str]:
    return sampling.id, to_json(sampling.to_json())


def intent_of(key: str, prompt: str, teacher: str, sampling: str, indices: str) -> RequestIntent:
    return RequestIntent(
        question_key=key,
        prompt_id=prompt,
        teacher=teacher,
        sampling=SamplingParams.from_json(json.loads(sampling)),
        indices=tuple(json.loads(indices)),
    )


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A chain ready to be stored: made in the thread that gives it, so that what is wrong with it is raised there."""

    digest: str
    question: str
    prompt: str
    teacher: str
    sampling: tuple[str, str]
    index: int
    text: str
    finish: str
    n_tokens: int | None
    mean_logprob: float | None
    request: int | None  # that brought it


def chain_rows(chains: Iterable[Chain], request: int | None = None) -> list[ChainRow]:
    samplings: dict[SamplingParams, tuple[str, str]] = {}
    rows = []
    for chain in chains:
        if chain.mean_logprob is not None and math.isnan(chain.mean_logprob):
            raise CorpusError(
                f"chain {chain.index} of question '{chain.question_key}' by {chain.teacher}: its mean log-probability "
                "is not a number. Leave it out (None) where it is not known."
            )
        sampling = samplings.get(chain.sampling)
        if sampling is None:
            sampling = samplings[chain.sampling] = sampling_row(chain.sampling)
        rows.append(
            ChainRow(
                chain.id,
                chain.question_key,
                chain.prompt_id,
                chain.teacher,
                sampling,
                chain.index,
                storable(chain.text),
                chain.finish.value,
                chain.n_tokens,
                chain.mean_logprob,
                request,
            )
        )
    return rows


_INSERT_CHAIN = """
INSERT INTO chains (digest, question, prompt, teacher, sampling, idx, text, finish, n_tokens, mean_logprob, request)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING
"""
_SET_ASIDE = """
INSERT INTO duplicates (chain, text, request) SELECT ?, ?, ?
WHERE NOT EXISTS (SELECT 1 FROM duplicates WHERE chain = ? AND text = ?)
"""


def insert_chains(tables: Tables, rows: Sequence[ChainRow]) -> ChainsAdded:
    """Store chains; the first text committed under an identity stays, a different one is set aside and counted."""
    tables.expect(len(rows))
    values = [
        (
            row.digest,
            tables.question(row.question),
            tables.prompt(row.prompt),
            tables.teacher(row.teacher),
            tables.sampling(*row.sampling),
            row.index,
            row.text,
            row.finish,
            row.n_tokens,
            row.mean_logprob,
            row.request,
        )
        for row in rows
    ]
    before = tables.connection.total_changes
    tables.connection.executemany(_INSERT_CHAIN, values)
    new = tables.connection.total_changes - before
    if new == len(rows):
        return ChainsAdded(new=new)
    duplicate = sum(set_aside(tables, row.digest, row.text, row.request) for row in rows)
    return ChainsAdded(new=new, same=len(rows) - new - duplicate, duplicate=duplicate)


def set_aside(tables: Tables, digest: str, text: str, request: int | None) -> bool:
    """Keep a text beside a stored chain, once, where the chain has another one; whether it has."""
    chain, stored = tables.connection.execute("SELECT id, text FROM chains WHERE digest = ?", (digest,)).fetchone()
    if text != stored:
        tables.connection.execute(_SET_ASIDE, (chain, text, request, chain, text))
    return bool(text != stored)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
