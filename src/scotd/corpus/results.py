"""What later stages store beside the chains: scores, selections, predictions."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from scotd.corpus.rows import storable, to_json
from scotd.corpus.writer import Tables
from scotd.errors import CorpusError
from scotd.types import Completion, Decoding, Fate, Finish, NoAnswer, Prediction, SamplingParams, Selection

Read = Callable[[str, Sequence[object]], list[Any]]


def insert_scores(tables: Tables, kind: str, values: Mapping[str, float]) -> None:
    sql = "INSERT OR REPLACE INTO scores (kind, value, chain) SELECT ?, ?, id FROM chains WHERE digest = ?"
    for chain, value in values.items():
        if math.isnan(value):
            raise CorpusError(f"score '{kind}' of chain {chain} is not a number. Leave it out.")
        if tables.connection.execute(sql, (kind, float(value), chain)).rowcount != 1:
            raise CorpusError(f"score '{kind}': chain {chain} is not in the corpus.")


def read_scores(read: Read, kind: str) -> dict[str, float]:
    sql = "SELECT c.digest, s.value FROM scores s JOIN chains c ON c.id = s.chain WHERE s.kind = ?"
    return dict(read(sql, (kind,)))


def insert_selection(tables: Tables, run: str, name: str, fates: Iterable[Fate]) -> Selection:
    """Store fates as they come, counting them."""
    tables.connection.execute("DELETE FROM selections WHERE run = ? AND name = ?", (run, name))
    sql = "INSERT INTO selections (run, name, labels) VALUES (?, ?, '{}')"
    number = tables.connection.execute(sql, (run, name)).lastrowid
    sql = "INSERT INTO selected (selection, position, chain, dropped) SELECT ?, ?, id, ? FROM chains WHERE digest = ?"
    kept = questions = 0
    dropped: Counter[str] = Counter()
    last: str | None = None  # the question of which a chain was kept last: its chains stand together
    for position, fate in enumerate(fates):
        if tables.connection.execute(sql, (number, position, fate.dropped, fate.chain_id)).rowcount != 1:
            raise CorpusError(f"selection '{name}': chain {fate.chain_id} is not in the corpus.")
        if fate.dropped is not None:
            dropped[fate.dropped] += 1
            continue
        kept += 1
        questions += fate.question_key != last
        last = fate.question_key
    return Selection(kept=kept, questions=questions, dropped=dict(sorted(dropped.items())))


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
