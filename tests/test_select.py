"""Selections conserve chains: each one is kept, or dropped for one stated reason."""

import random
from collections import Counter
from collections.abc import Mapping
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.errors import ConfigError
from scotd.select import majority_labels, select
from scotd.types import Answered, Chain, Choice, Finish, NoAnswer, Parsed, Question, SamplingParams
from scotd.vote import vote

LABELS = ("A", "B", "C")


def question(number: int, gold: str | None) -> Question:
    choices = tuple(Choice(label=label, text=f"choice {label}") for label in LABELS)
    return Question(id=f"q{number}", task="t", split="train", stem=f"Question {number}?", choices=choices, gold=gold)


def chain(number: int, index: int, text: str) -> Chain:
    return Chain(
        question_key=f"t/q{number}",
        prompt_id="p",
        teacher="local:x",
        sampling=SamplingParams(),
        index=index,
        text=text,
        finish=Finish.LENGTH if text == "..." else Finish.STOP,
    )


def parse(text: str, asked: Question, finish: Finish) -> Parsed:
    """A text is its answer; nothing is none."""
    if text in {choice.label for choice in asked.choices}:
        return Parsed(rationale="", answer=text, reason=None)
    reason = NoAnswer.CUT_OFF if finish is Finish.LENGTH else NoAnswer.EMPTY
    return Parsed(rationale=text, answer=None, reason=reason)


def read(chains: list[Chain]) -> list[Answered]:
    """What chains answer, by this file's parser."""
    found = []
    for one in chains:
        parsed = parse(one.text, QUESTIONS.get(one.question_key) or question(0, None), one.finish)
        found.append(
            Answered(
                chain_id=one.id,
                question_key=one.question_key,
                index=one.index,
                finish=one.finish,
                answer=parsed.answer,
                reason=parsed.reason,
            )
        )
    return found


def chains_of(*texts_by_question: str) -> list[Chain]:
    return [
        chain(number, index, "" if text == "-" else "..." if text == "." else text)
        for number, texts in enumerate(texts_by_question)
        for index, text in enumerate(texts)
    ]


QUESTIONS = {asked.key: asked for asked in (question(0, "A"), question(1, None), question(2, "C"))}


def fates(name: str, chains: list[Chain], questions: Mapping[str, Question] = QUESTIONS) -> dict[str, str | None]:
    """By chain id why it is dropped, in the order of the fates."""
    found = list(select(name, read(chains), questions))
    assert [(fate.chain_id, fate.question_key) for fate in found] == [(one.id, one.question_key) for one in chains]
    return {fate.chain_id: fate.dropped for fate in found}


def kept(name: str, chains: list[Chain]) -> list[Chain]:
    found = fates(name, chains)
    return [one for one in chains if found[one.id] is None]


def test_correct_keeps_what_agrees_with_the_gold_label() -> None:
    chains = chains_of("AB-A.", "AA", "BB", "A")
    assert kept("correct", chains) == [chains[0], chains[3]]
    assert Counter(fates("correct", chains).values()) == {
        None: 2,
        "wrong": 3,
        "unparsed: empty": 1,
        "unparsed: cut off": 1,
        "no gold label": 2,
        "not among the questions": 1,
    }


def test_all_drops_only_what_cannot_be_trained_on() -> None:
    chains = chains_of("AB-", "C", "")
    assert list(fates("all", chains).values()) == [None, None, "unparsed: empty", None]


def test_majority_labels_questions_by_their_own_chains_without_looking_at_gold() -> None:
    chains = chains_of("BB-A", "CAC", "-.")
    assert majority_labels(read(chains)) == {"t/q0": "B", "t/q1": "C"}
    assert kept("majority", chains) == [chains[0], chains[1], chains[4], chains[6]]
    found = fates("majority", chains)
    assert found[chains[3].id] == "not the majority"
    blind = {key: question(int(key[-1]), None) for key in QUESTIONS}
    assert fates("majority", chains, blind) == found


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'corect' is not known\. Did you mean 'correct'"):
        select("corect", [], QUESTIONS)


def test_chains_of_a_question_that_do_not_stand_together_are_refused() -> None:
    first, other, last = chains_of("AB", "C")[0], chains_of("AB", "C")[2], chains_of("AB", "C")[1]
    with pytest.raises(AssertionError, match="t/q0 do not stand together"):
        list(select("majority", read([first, other, last]), QUESTIONS))


corpora = st.lists(st.text(alphabet="ABC-.", max_size=6), min_size=1, max_size=5).map(lambda texts: chains_of(*texts))


@given(chains=corpora, name=st.sampled_from(["correct", "all", "majority"]), seed=st.integers())
def test_every_chain_has_one_fate_and_the_order_of_chains_decides_nothing(
    chains: list[Chain], name: str, seed: int
) -> None:
    by_question = [list(pool) for _, pool in groupby(chains, key=lambda one: one.question_key)]
    order = random.Random(seed)
    order.shuffle(by_question)
    for pool in by_question:
        order.shuffle(pool)
    shuffled = [one for pool in by_question for one in pool]
    assert fates(name, shuffled) == fates(name, chains)


@given(chains=corpora)
def test_the_majority_is_the_vote_of_the_parsed_answers(chains: list[Chain]) -> None:
    labels = majority_labels(read(chains))
    chosen = [one for one in kept("majority", chains) if one.question_key in QUESTIONS]
    for key, asked in QUESTIONS.items():
        cast = [parse(one.text, asked, one.finish).answer for one in chains if one.question_key == key]
        assert labels.get(key) == vote(cast, key).answer
        held = [one for one in chosen if one.question_key == key]
        assert all(one.text == labels[key] for one in held)
        assert len(held) == sum(answer == labels.get(key) for answer in cast if answer is not None)
