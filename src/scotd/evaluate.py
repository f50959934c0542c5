"""Questions x student -> Predictions (paper 2, step 5): greedy, or self-consistency over several sampled chains.

Batches are planned from the questions alone, and a batch is stored whole or not at all: an evaluation that was
interrupted gives the same bits as one that was not, because every batch is computed in the same company.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scotd.answers import parse
from scotd.blocks import Block, Writer
from scotd.stats import Interval, wilson
from scotd.tokens import encode_prompt
from scotd.types import Completion, Decoding, Prediction, Prompt, Question, digest
from scotd.vote import vote

Store = Callable[[list[Prediction]], None]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often a student was right on a split. An unparsed answer counts as wrong and is a rate of its own."""

    questions: int
    correct: int
    unparsed: int
    tied: int
    interval: Interval

    @property
    def rate(self) -> float:
        return self.correct / self.questions


@dataclass(frozen=True, kw_only=True)
class _Item:
    question: Question
    tokens: list[int]


def answer(
    writer: Writer,
    questions: Sequence[Question],
    prompt: Callable[[Question], Prompt],
    decoding: Decoding,
    *,
    seed: int,
    batch_chains: int,
    done: Collection[str] = (),
    store: Store,
) -> None:
    """Answer questions batch by batch, handing each finished batch to `store`; `done` are keys answered before.

    A batch with a question that is not done is computed whole. Exactly one prediction is stored for each question.
    """
    items = [
        _Item(question=question, tokens=encode_prompt(writer.tokenizer, prompt(question))) for question in questions
    ]
    todo = [batch for batch in _batches(items, max(1, batch_chains // decoding.votes)) if not _all_in(batch, done)]
    if not todo:
        return
    writer.share([item.tokens for item in items])
    blocks = ((batch, _block(batch, decoding, seed)) for batch in todo)
    for batch, completions in writer.write(blocks):
        predictions = [
            predict(item.question, decoding, chains) for item, chains in zip(batch, completions, strict=True)
        ]
        store([prediction for prediction in predictions if prediction.question_key not in done])


def predict(question: Question, decoding: Decoding, chains: Sequence[Completion]) -> Prediction:
    """Parse the chains of one question and let them vote; unparsed chains do not vote."""
    parsed = [parse(chain.text, question, chain.finish) for chain in chains]
    result = vote((one.answer for one in parsed), question.key)
    reasons = Counter(one.reason for one in parsed if one.reason is not None)
    return Prediction(
        question_key=question.key,
        decoding=decoding,
        chains=tuple(chains),
        answer=result.answer,
        reason=None if result.answer is not None else reasons.most_common(1)[0][0],
        tally=dict(result.tally),
        tied=result.tied,
    )


def accuracy(
    predictions: Sequence[Prediction], questions: Mapping[str, Question], confidence: float = 0.95
) -> Accuracy | None:
    """Accuracy over the predictions to questions that have a gold label; None where none has."""
    scored = [one for one in predictions if questions[one.question_key].gold is not None]
    assert len({one.question_key for one in scored}) == len(scored), "one prediction a question"
    if not scored:
        return None
    correct = sum(one.answer == questions[one.question_key].gold for one in scored)
    return Accuracy(
        questions=len(scored),
        correct=correct,
        unparsed=sum(one.answer is None for one in scored),
        tied=sum(one.tied for one in scored),
        interval=wilson(correct, len(scored), confidence),
    )


def _batches(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    """Batches of questions of similar length, decided by the questions alone."""
    ordered = sorted(items, key=lambda item: (len(item.tokens), item.question.key))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _block(batch: Sequence[_Item], decoding: Decoding, seed: int) -> Block:
    return Block(
        prompts=tuple(tuple(item.tokens) for item in batch),
        seeds=tuple(tuple(_seed(seed, item.question.key, vote) for vote in range(decoding.votes)) for item in batch),
        sampling=decoding.sampling,
    )


def _all_in(batch: Sequence[_Item], done: Collection[str]) -> bool:
    return all(item.question.key in done for item in batch)


def _seed(seed: int, question_key: str, number: int) -> int:
    return int(digest([seed, question_key, number])[:15], 16)
