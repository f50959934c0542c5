"""Answering: one prediction a question, batches decided by the questions alone, votes, and what counts as wrong."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from conftest import MakeModel
from hypothesis import given, settings
from hypothesis import strategies as st

from scotd.blocks import Block, Written
from scotd.evaluate import accuracy, answer, predict
from scotd.types import (
    Choice,
    Completion,
    Decoding,
    Finish,
    NoAnswer,
    Prediction,
    Prompt,
    Question,
    SamplingParams,
)

GREEDY = Decoding(sampling=SamplingParams(temperature=0, max_tokens=12))
VOTE = Decoding(sampling=SamplingParams(temperature=0.7, max_tokens=12), votes=3)
CHOICES = (Choice(label="A", text="yes"), Choice(label="B", text="no"))


def question(k: int, gold: str | None = "A") -> Question:
    stem = f"Is {k} odd" + " or what" * (k % 4) + "?"  # of several lengths
    return Question(id=f"{k:03}", task="t", split="test", stem=stem, choices=CHOICES, gold=gold)


QUESTIONS = [question(k) for k in range(11)]


def prompt(asked: Question) -> Prompt:
    return Prompt(text=f"Q: {asked.stem}\nA:")


def says(text: str, finish: Finish = Finish.STOP) -> Completion:
    return Completion(text=text, finish=finish, n_tokens=4, mean_logprob=-1.0)


class Recording:
    """A decoder that answers "(A)" and remembers its batches: prompts as tokens, with their seeds."""

    def __init__(self) -> None:
        self.tokenizer = lambda text, **_: {"input_ids": [ord(character) for character in text]}
        self.shared: list[list[list[int]]] = []
        self.batches: list[tuple[tuple[str, tuple[int, ...]], ...]] = []

    def share(self, prompts: Sequence[Sequence[int]]) -> int:
        self.shared.append([list(tokens) for tokens in prompts])
        return 0

    def write(self, blocks: Iterable[tuple[Any, Block]]) -> Iterator[tuple[Any, Written]]:
        for name, block in blocks:
            texts = ["".join(map(chr, tokens)) for tokens in block.prompts]
            self.batches.append(tuple(zip(texts, block.seeds, strict=True)))
            yield name, [[says(" So the answer is (A).") for _ in group] for group in block.seeds]


def run(
    decoder: Any,
    decoding: Decoding = GREEDY,
    *,
    questions: Sequence[Question] = QUESTIONS,
    batch_chains: int = 4,
    seed: int = 0,
    done: Sequence[str] = (),
    store: Callable[[list[Prediction]], None] | None = None,
) -> list[Prediction]:
    found: list[Prediction] = []
    answer(
        decoder,
        questions,
        prompt,
        decoding,
        seed=seed,
        batch_chains=batch_chains,
        done=done,
        store=found.extend if store is None else store,
    )
    return found


# ---- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decoding", "per_batch"), [(GREEDY, 7), (VOTE, 2)])
def test_every_question_is_answered_once_in_batches_of_the_size_given(decoding: Decoding, per_batch: int) -> None:
    decoder = Recording()
    found = run(decoder, decoding, batch_chains=7)
    assert sorted(one.question_key for one in found) == [one.key for one in QUESTIONS]
    assert {len(one.chains) for one in found} == {decoding.votes}
    sizes = [len(batch) for batch in decoder.batches]
    assert sum(sizes) == len(QUESTIONS) and sizes[:-1] == [per_batch] * (len(sizes) - 1) and sizes[-1] <= per_batch
    lengths = [len(text) for batch in decoder.batches for text, _ in batch]
    assert lengths == sorted(lengths)  # little padding
    assert [len(shared) for shared in decoder.shared] == [len(QUESTIONS)]  # once, over all questions


def test_a_vote_larger_than_a_batch_goes_question_by_question() -> None:
    decoder = Recording()
    assert len(run(decoder, VOTE, batch_chains=2)) == len(QUESTIONS)
    assert {len(batch) for batch in decoder.batches} == {1}


@settings(deadline=None)
@given(done=st.sets(st.sampled_from(QUESTIONS)), order=st.permutations(QUESTIONS))
def test_batches_depend_neither_on_what_is_done_nor_on_the_order(done: set[Question], order: list[Question]) -> None:
    whole, rest = Recording(), Recording()
    run(whole, VOTE)
    keys = {one.key for one in done}
    found = run(rest, VOTE, questions=order, done=sorted(keys))
    assert {one.question_key for one in found} == {one.key for one in QUESTIONS} - keys
    assert len(found) == len(QUESTIONS) - len(keys)
    unfinished = {prompt(one).text for one in QUESTIONS if one.key not in keys}
    assert rest.batches == [batch for batch in whole.batches if any(text in unfinished for text, _ in batch)]
    everything = sorted(map(tuple, whole.shared[0]))
    assert all(sorted(map(tuple, shared)) == everything for shared in rest.shared)  # not only what is left
    assert bool(rest.shared) == bool(rest.batches)  # nothing to do: nothing computed


def test_seeds_belong_to_a_question_and_a_vote() -> None:
    def seeds(batch_chains: int, seed: int = 0) -> dict[str, tuple[int, ...]]:
        decoder = Recording()
        run(decoder, VOTE, batch_chains=batch_chains, seed=seed)
        return {text: group for batch in decoder.batches for text, group in batch}

    assert seeds(3) == seeds(9)
    every = [one for group in seeds(3).values() for one in group]
    assert len(every) == len(set(every))
    assert set(every).isdisjoint(one for group in seeds(3, seed=1).values() for one in group)


@pytest.mark.parametrize("decoding", [GREEDY, VOTE])
def test_interrupted_and_resumed_equals_uninterrupted(
    decoding: Decoding, make_model: MakeModel, tokenizer: Any
) -> None:
    import torch

    from scotd.decode import Decoder

    def decoder() -> Decoder:
        # bfloat16 rounds so coarsely that another company in a batch shows in the log-probabilities
        return Decoder(make_model("llama").to(torch.bfloat16), tokenizer)

    uninterrupted = run(decoder(), decoding)
    assert len({one.chains for one in uninterrupted}) == len(QUESTIONS)  # the model says something of each
    kept: list[Prediction] = []

    def store(batch: list[Prediction]) -> None:
        if len(kept) >= 4:
            raise KeyboardInterrupt
        kept.extend(batch)

    with pytest.raises(KeyboardInterrupt):
        run(decoder(), decoding, store=store)
    assert 4 <= len(kept) < len(QUESTIONS)
    del kept[1]  # as if a batch had been stored in part: it is computed whole again
    rest = run(decoder(), decoding, done=[one.question_key for one in kept])
    assert len(rest) == len(QUESTIONS) - len(kept)

    def by_key(predictions: list[Prediction]) -> list[Prediction]:
        return sorted(predictions, key=lambda one: one.question_key)

    assert by_key(kept + rest) == by_key(uninterrupted)  # texts, log-probabilities, answers


# ---- votes and rates -----------------------------------------------------------------------------------------------


def test_unparsed_chains_do_not_vote() -> None:
    chains = [says("Hm."), says(" So the answer is (B)."), says(""), says("I do not know", Finish.LENGTH)]
    found = predict(QUESTIONS[0], VOTE, chains)
    assert (found.answer, found.reason, found.tally, found.tied) == ("B", None, {"B": 1}, False)
    assert found.chains == tuple(chains) and found.question_key == QUESTIONS[0].key


def test_where_nothing_can_be_parsed_the_commonest_reason_is_given() -> None:
    found = predict(QUESTIONS[0], VOTE, [says("Hm."), says("", Finish.LENGTH), says("Well.")])
    assert (found.answer, found.tally) == (None, {})
    assert found.reason is NoAnswer.MISSING


def test_votes_are_counted_and_ties_are_shown() -> None:
    a, b = says(" So the answer is (A)."), says(" So the answer is (B).")
    assert predict(QUESTIONS[0], VOTE, [a, b, b]).tally == {"B": 2, "A": 1}
    assert predict(QUESTIONS[0], VOTE, [a, b, b]).answer == "B"
    tie = predict(QUESTIONS[0], VOTE, [a, b])
    assert tie.tied and tie.answer == predict(QUESTIONS[0], VOTE, [b, a]).answer


def answered(asked: Question, *texts: str) -> Prediction:
    return predict(asked, VOTE, [says(text) for text in texts])


def test_accuracy_counts_unparsed_as_wrong_and_leaves_out_the_unlabelled() -> None:
    asked = [question(0), question(1), question(2), question(3, gold="B"), question(4, gold=None)]
    predictions = [
        answered(asked[0], "The answer is (A)."),
        answered(asked[1], "Hm."),
        answered(asked[2], "The answer is (B)."),
        answered(asked[3], "The answer is (A).", "The answer is (B)."),
        answered(asked[4], "The answer is (A)."),
    ]
    right = 1 + (predictions[3].answer == "B")
    found = accuracy(predictions, {one.key: one for one in asked}, 0.9)
    assert found is not None
    assert (found.questions, found.correct, found.unparsed, found.tied) == (4, right, 1, 1)
    assert found.rate == right / 4
    assert 0 < found.interval.low < found.rate < found.interval.high < 1
    wider = accuracy(predictions, {one.key: one for one in asked}, 0.99)
    assert wider is not None and wider.interval.low < found.interval.low


def test_accuracy_is_none_without_labels_and_refuses_a_question_answered_twice() -> None:
    unlabelled = question(4, gold=None)
    assert accuracy([answered(unlabelled, "The answer is (A).")], {unlabelled.key: unlabelled}) is None
    twice = [answered(QUESTIONS[0], "(A)"), answered(QUESTIONS[0], "(B)")]
    with pytest.raises(AssertionError, match="one prediction a question"):
        accuracy(twice, {QUESTIONS[0].key: QUESTIONS[0]})
