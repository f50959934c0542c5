"""A limit in dollars: never crossed, whatever is under way, and used as far as it goes."""

from decimal import Decimal
from pathlib import Path

import pytest
from test_practice import QUESTIONS, practising, sampled

from scotd.config import PricesConfig, TeacherConfig
from scotd.corpus import Corpus, RequestIntent
from scotd.errors import ConfigError
from scotd.experiment.run import _budget
from scotd.teachers import Ask, teacher_name
from scotd.teachers.budget import Budget
from scotd.teachers.practice import Fault
from scotd.teachers.prices import Price
from scotd.types import Prompt, SamplingParams, Usage

PRICE = Price(prompt=Decimal(10), completion=Decimal(1000), source="test")


def ask(n: int, *, question: str = "t/1") -> Ask:
    return Ask(
        question_key=question,
        prompt=Prompt(text="é" * 50),  # 100 bytes
        sampling=SamplingParams(max_tokens=10),
        indices=tuple(range(n)),
        seeds=tuple(range(n)),
    )


def test_what_is_under_way_is_set_aside_at_its_greatest_cost() -> None:
    budget = Budget(most=Decimal("0.05"), price=PRICE, spent=Decimal("0.01"))
    assert budget.worst(ask(2)) == 2 * (Decimal(100) * 10 + Decimal(10) * 1000) / 1_000_000
    assert budget.take(ask(2))  # 0.022
    assert not budget.take(ask(2, question="t/2"))
    budget.settle(ask(2), Usage(prompt_tokens=30, completion_tokens=5))
    assert budget.spent == Decimal("0.0153")
    assert budget.take(ask(2, question="t/2"))
    assert budget.said() == "$0.02 of teacher.max_cost $0.05 are spent"


def test_what_was_not_counted_is_held_to_have_cost_all_it_could() -> None:
    budget = Budget(most=Decimal(1), price=PRICE, spent=Decimal(0))
    assert budget.take(ask(1))
    budget.settle(ask(1), Usage(unsaid=2))
    assert budget.spent == 2 * budget.worst(ask(1))


@pytest.mark.parametrize(
    "faults", [{}, {Fault.CUT: 0.1, Fault.NO_USAGE: 0.1, Fault.BAD_JSON: 0.1}], ids=["calm", "storm"]
)
def test_it_is_not_crossed_and_what_was_bought_is_kept(faults: dict[Fault, float], tmp_path: Path) -> None:
    most = Decimal(6)
    with practising(faults=faults) as practice:
        budget = Budget(most=most, price=PRICE, spent=Decimal(0))
        report = sampled(practice, tmp_path / "c.sqlite", 8, budget=budget)
        counts = practice.counts
        cost = PRICE.of(prompt_tokens=counts.prompt_tokens, completion_tokens=counts.completion_tokens)
        assert report.received > 0 and report.missing > 0
        assert cost <= budget.spent <= most
        more = Budget(most=Decimal(1000), price=PRICE, spent=budget.spent)
        while report.missing:
            report = sampled(practice, tmp_path / "c.sqlite", 8, budget=more)
    with Corpus.open(tmp_path / "c.sqlite", "ro") as corpus:
        assert sum(1 for _ in corpus.chains()) == 320


def test_earlier_sittings_count_and_so_does_what_a_kill_left_open(tmp_path: Path) -> None:
    config = TeacherConfig(
        kind="openai",
        model="m",
        base_url="http://127.0.0.1:9",
        prices=PricesConfig(prompt=10, completion=1000),
        max_cost=5,
    )
    prompt = Prompt(text="Q: why?\nA:")
    intent = RequestIntent(
        question_key=QUESTIONS[0].key,
        prompt_id=prompt.id,
        teacher=teacher_name(config),
        sampling=SamplingParams(max_tokens=10),
        indices=(0, 1),
    )
    with Corpus.open(tmp_path / "c.sqlite") as corpus:
        corpus.add_questions(QUESTIONS)
        corpus.add_prompts([prompt])
        first, _ = corpus.begin_requests([intent, intent])
        corpus.finish_request(first, [], Usage(prompt_tokens=100, completion_tokens=50))
    with Corpus.open(tmp_path / "c.sqlite") as corpus:
        budget = _budget(config, corpus)
        assert budget is not None and budget.most == 5
        assert budget.spent == Decimal("0.051") + 2 * (Decimal(10) * 10 + Decimal(10) * 1000) / 1_000_000
        assert _budget(config.model_copy(update={"max_cost": None}), corpus) is None
        with pytest.raises(ConfigError, match=r"teacher\.max_cost: what m costs is not known: set teacher\.prices"):
            _budget(config.model_copy(update={"prices": None}), corpus)


def test_answers_that_earlier_sittings_never_counted_are_held_to_have_cost_all_they_could(tmp_path: Path) -> None:
    faults = {Fault.CUT: 0.2, Fault.NO_USAGE: 0.2, Fault.BAD_JSON: 0.2}
    with practising(faults=faults) as practice:
        config = TeacherConfig(
            kind="openai",
            model="practice",
            base_url=practice.url,
            prices=PricesConfig(prompt=10, completion=1000),
            max_cost=1000,
        )
        first = Budget(most=Decimal(1000), price=PRICE, spent=Decimal(0))
        sampled(practice, tmp_path / "c.sqlite", 4, budget=first)
        cost = PRICE.of(
            prompt_tokens=practice.counts.prompt_tokens, completion_tokens=practice.counts.completion_tokens
        )
    with Corpus.open(tmp_path / "c.sqlite") as corpus:
        later = _budget(config, corpus)
        assert later is not None and cost < later.spent == first.spent
        billed = corpus.billed(teacher_name(config))
    assert later.spent > PRICE.of(
        prompt_tokens=billed.prompt_tokens or 0, completion_tokens=billed.completion_tokens or 0
    )
