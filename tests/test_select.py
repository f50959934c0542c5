"""Selections conserve chains: each one is kept, or dropped for one stated reason."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.errors import ConfigError
from scotd.select import select
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


def test_correct_keeps_what_agrees_with_the_gold_label() -> None:
    chains = chains_of("AB-A.", "AA", "BB", "A")
    chosen = select("correct", read(chains), QUESTIONS)
    assert chosen.kept == (chains[0].id, chains[3].id)
    assert chosen.counts() == {
        "kept": 2,
        "wrong": 3,
        "unparsed: empty": 1,
        "unparsed: cut off": 1,
        "no gold label": 2,
        "not among the questions": 1,
    }
    assert chosen.labels == {}


def test_all_drops_only_what_cannot_be_trained_on() -> None:
    chains = chains_of("AB-", "C", "")
    chosen = select("all", read(chains), QUESTIONS)
    assert chosen.kept == (chains[0].id, chains[1].id, chains[3].id)
    assert chosen.dropped == {chains[2].id: "unparsed: empty"}


def test_majority_labels_questions_by_their_own_chains_without_looking_at_gold() -> None:
    chains = chains_of("BB-A", "CAC", "-.")
    chosen = select("majority", read(chains), QUESTIONS)
    assert chosen.labels == {"t/q0": "B", "t/q1": "C"}
    assert chosen.kept == (chains[0].id, chains[1].id, chains[4].id, chains[6].id)
    assert chosen.dropped[chains[3].id] == "not the majority"
    blind = {key: question(int(key[-1]), None) for key in QUESTIONS}
    assert select("majority", read(chains), blind) == chosen


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'corect' is not known\. Did you mean 'correct'"):
        select("corect", [], QUESTIONS)


corpora = st.lists(st.text(alphabet="ABC-.", max_size=6), min_size=1, max_size=5).map(lambda texts: chains_of(*texts))


@given(chains=corpora, name=st.sampled_from(["correct", "all", "majority"]), seed=st.integers())
def test_kept_and_dropped_are_all_and_the_order_of_chains_decides_nothing(
    chains: list[Chain], name: str, seed: int
) -> None:
    chosen = select(name, read(chains), QUESTIONS)
    assert sorted([*chosen.kept, *chosen.dropped]) == sorted(one.id for one in chains)
    assert sum(chosen.counts().values()) == len(chains)
    order = {one.id: place for place, one in enumerate(chains)}
    assert list(chosen.kept) == sorted(chosen.kept, key=order.__getitem__)
    shuffled = list(chains)
    random.Random(seed).shuffle(shuffled)
    again = select(name, read(shuffled), QUESTIONS)
    assert set(again.kept) == set(chosen.kept)
    assert (again.dropped, again.labels) == (chosen.dropped, chosen.labels)


@given(chains=corpora)
def test_the_majority_is_the_vote_of_the_parsed_answers(chains: list[Chain]) -> None:
    chosen = select("majority", read(chains), QUESTIONS)
    for key, asked in QUESTIONS.items():
        cast = [parse(one.text, asked, one.finish).answer for one in chains if one.question_key == key]
        assert chosen.labels.get(key) == vote(cast, key).answer
        kept = [one for one in chains if one.id in chosen.kept and one.question_key == key]
        assert all(one.text == chosen.labels[key] for one in kept)
        assert len(kept) == sum(answer == chosen.labels.get(key) for answer in cast if answer is not None)
