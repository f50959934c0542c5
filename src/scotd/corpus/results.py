"""What later stages store beside the chains: scores, selections, predictions."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from scotd.corpus.rows import storable, to_json
from scotd.corpus.writer import Tables
from scotd.errors import CorpusError
from scotd.types import Completion, Decoding, Fate, Finish, NoAnswer, Prediction, SamplingParams, Selection

Read = Callable[[str, Sequence[object]], list[Any]]

_UNFINISHED = " (unfinished)"


def insert_scores(tables: Tables, kind: str, values: Mapping[str, float]) -> None:
    sql = "INSERT OR REPLACE INTO scores (kind, value, chain) SELECT ?, ?, id FROM chains WHERE digest = ?"
    for chain, value in values.items():
        if math.isnan(value):
            raise CorpusError(f"score '{kind}' of chain {chain} is not a number. Leave it out.")
        if tables.connection.execute(sql, (kind, float(value), chain)).rowcount != 1:
            raise CorpusError(f"score '{kind}': chain {chain} is not in the corpus.")


def read_scores(read: Read, kind: str, chains: Iterable[str]) -> dict[str, float]:
    sql = (
        "SELECT c.digest, s.value FROM json_each(?) w JOIN chains c ON c.digest = w.value"
        " JOIN scores s ON s.chain = c.id WHERE s.kind = ?"
    )
    return dict(read(sql, (json.dumps(list(chains)), kind)))


def begin_selection(tables: Tables, run: str, name: str) -> int:
    """A selection without fates, in place of one that was left unfinished; returns its number."""
    tables.connection.execute("DELETE FROM selections WHERE run = ? AND name = ?", (_unfinished(run), name))
    sql = "INSERT INTO selections (run, name, labels) VALUES (?, ?, '{}')"
    number = tables.connection.execute(sql, (_unfinished(run), name)).lastrowid
    assert number is not None
    return number


def insert_fates(tables: Tables, selection: int, first: int, fates: Sequence[Fate]) -> None:
    """Add fates to a selection; `first` is the place of the first one."""
    tables.expect(len(fates))
    sql = "INSERT INTO selected (selection, position, chain, dropped) SELECT ?, ?, id, ? FROM chains WHERE digest = ?"
    for position, fate in enumerate(fates, first):
        if tables.connection.execute(sql, (selection, position, fate.dropped, fate.chain_id)).rowcount != 1:
            raise CorpusError(f"a selection names the chain {fate.chain_id}, which is not in the corpus.")


def end_selection(tables: Tables, selection: int, run: str, name: str) -> None:
    """Let a selection that is whole take the place of an earlier one."""
    tables.connection.execute("DELETE FROM selections WHERE run = ? AND name = ?", (run, name))
    tables.connection.execute("UPDATE selections SET run = ? WHERE id = ?", (run, selection))


def read_selection(read: Read, run: str, name: str) -> Selection | None:
    found = read("SELECT id FROM selections WHERE run = ? AND name = ?", (run, name))
    if not found:
        return None
    fates = "FROM selected f JOIN chains c ON c.id = f.chain WHERE f.selection = ?"
    ((kept, questions),) = read(f"SELECT count(*), count(DISTINCT c.question) {fates} AND f.dropped IS NULL", found[0])
    dropped = "SELECT dropped, count(*) FROM selected WHERE selection = ? AND dropped IS NOT NULL GROUP BY dropped"
    return Selection(kept=kept, questions=questions, dropped=dict(read(f"{dropped} ORDER BY dropped", found[0])))


def read_selections(read: Read) -> list[tuple[str, str]]:
    found = read("SELECT run, name FROM selections ORDER BY run, name", ())
    return [(run, name) for run, name in found if not run.endswith(_UNFINISHED)]


def _unfinished(run: str) -> str:
    return f"{run}{_UNFINISHED}"


def prediction_rows(
    run: str, student: str, split: str, predictions: Iterable[Prediction]
) -> list[tuple[str, str, str, str, str, str]]:
    return [
        (run, student, split, prediction.decoding.name, prediction.question_key, prediction_body(prediction))
        for prediction in predictions
    ]


INSERT_PREDICTION = """
INSERT INTO predictions (run, student, split, decoding, question_key, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run, student, split, decoding, question_key) DO UPDATE SET body = excluded.body
"""


def read_predictions(read: Read, run: str, student: str, split: str, decoding: str) -> list[Prediction]:
    sql = (
        "SELECT question_key, body FROM predictions"
        " WHERE run = ? AND student = ? AND split = ? AND decoding = ? ORDER BY id"
    )
    return [prediction_of(key, body) for key, body in read(sql, (run, student, split, decoding))]


def prediction_body(prediction: Prediction) -> str:
    chains = [[storable(c.text), c.finish.value, c.n_tokens, c.mean_logprob] for c in prediction.chains]
    return to_json(
        {
            "sampling": prediction.decoding.sampling.to_json(),
            "votes": prediction.decoding.votes,
            "chains": chains,
            "answer": prediction.answer,
            "reason": prediction.reason,
            "tally": prediction.tally,
            "tied": prediction.tied,
        }
    )


def prediction_of(question_key: str, body: str) -> Prediction:
    value = json.loads(body)
    chains = tuple(
        Completion(text=text, finish=Finish(finish), n_tokens=n_tokens, mean_logprob=mean_logprob)
        for text, finish, n_tokens, mean_logprob in value["chains"]
    )
    return Prediction(
        question_key=question_key,
        decoding=Decoding(sampling=SamplingParams.from_json(value["sampling"]), votes=value["votes"]),
        chains=chains,
        answer=value["answer"],
        reason=None if value["reason"] is None else NoAnswer(value["reason"]),
        tally=value["tally"],
        tied=value["tied"],
    )
