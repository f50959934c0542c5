"""`--dry-run` of `run` and `sample`: what is missing, what it costs, and what is not known is said to be."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from scotd.config import load
from scotd.corpus import Corpus, export_parquet
from scotd.errors import DataError
from scotd.experiment import Plan, afresh, describe
from scotd.experiment.estimate import ENOUGH_CHAINS, Estimate, estimate
from scotd.teachers import teacher_name
from scotd.teachers.pace import Pace
from scotd.teachers.prices import CHARACTERS_A_TOKEN, price_of
from scotd.types import Chain, Finish, ServerCap

EXPERIMENT = """
name: e
corpus: {corpus}
questions: {{task: feedback, limit: {{train: 20, test: 5}}, dev: null}}
prompt: {{chat: true}}
teacher: {{kind: openai, model: my-model, base_url: "http://127.0.0.1:9/v1"{teacher}}}
sampling: {{chains_per_question: 30, max_tokens: 100}}
student: smollm2-135m-instruct
students:
  scotd: {{target: scotd}}
  greedy: {{target: greedy-cot}}
evaluation: {{splits: [test]}}
"""
PRICED = ", prices: {prompt: 0.5, completion: 2.0}"


def plan_of(folder: Path, teacher: str = "") -> Plan:
    path = folder / "e.yaml"
    path.write_text(EXPERIMENT.format(corpus=folder / "c.sqlite", teacher=teacher), encoding="utf-8")
    return Plan.of(load(path))


def filled(plan: Plan, indices: Sequence[int], tokens: int) -> None:
    """Chains for the first training question."""
    question = plan.train[0]
    with Corpus.open(plan.corpus_path) as corpus:
        corpus.add_questions(plan.train)
        corpus.add_prompts(plan.teacher_prompts.values())
        corpus.add_chains(
            Chain(
                question_key=question.key,
                prompt_id=plan.teacher_prompts[question.key].id,
                teacher=teacher_name(plan.experiment.teacher),
                sampling=plan.sampling,
                index=index,
                text=f"Because {index}.",
                finish=Finish.STOP,
                n_tokens=tokens,
            )
            for index in indices
        )


def words(found: Estimate) -> str:
    return "\n".join(found.lines())


def test_everything_is_missing_at_first_and_what_is_not_known_is_said(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    found = estimate(plan)
    assert not plan.corpus_path.exists()  # looking makes nothing
    assert (found.wanted, found.missing, found.questions, found.requests) == (620, 620, 20, 40)
    characters = [sum(len(one.content) for one in prompt.messages or ()) for prompt in plan.teacher_prompts.values()]
    assert found.prompt_tokens == 2 * sum(-(-count // CHARACTERS_A_TOKEN) for count in characters)
    assert found.most_tokens == 62_000 and found.mean_tokens is None and found.price is None
    assert "estimated at 4 characters" in words(found) and "unknown: set teacher.prices" in words(found)


def test_money_by_the_users_own_prices(tmp_path: Path) -> None:
    found = estimate(plan_of(tmp_path, PRICED))
    most = Decimal(found.prompt_tokens) / 2_000_000 + Decimal("0.124")
    assert found.cost(found.most_tokens) == most
    assert f"at most ${most:,.2f} ($0.5 and $2 a million tokens" in words(found)


def test_what_is_there_is_not_asked_for_and_tells_how_long_chains_are(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, PRICED)
    filled(plan, range(ENOUGH_CHAINS - 1), 40)
    assert estimate(plan).mean_tokens is None
    filled(plan, range(ENOUGH_CHAINS), 40)
    found = estimate(plan)
    assert found.missing == 590 and found.requests == 39 and found.mean_tokens == 40
    assert "about 23,600 tokens (40 a chain so far)" in words(found)


def test_chains_that_a_run_begins_with_are_not_missing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    filled(plan, range(3), 40)
    with Corpus.open(plan.corpus_path, "ro") as corpus:
        export_parquet(corpus, tmp_path / "three.parquet")
    whole = replace(plan, experiment=plan.experiment.model_copy(update={"corpus": tmp_path / "new.sqlite"}))
    begun = replace(whole, experiment=whole.experiment.model_copy(update={"import_chains": tmp_path / "three.parquet"}))
    assert (estimate(whole).missing, estimate(begun).missing) == (620, 617)
    assert "617 of 620 chains are missing" in describe(begun)[1]
    assert not (tmp_path / "new.sqlite").exists()
    assert replace(begun, experiment=afresh(begun.experiment)).shipped is None
    (tmp_path / "three.parquet").unlink()
    with pytest.raises(DataError, match=r"import_chains: .*three\.parquet: no such file"):
        describe(begun)


def test_a_cap_on_n_means_more_requests_and_the_prompt_billed_as_often(tmp_path: Path) -> None:
    whole, capped = estimate(plan_of(tmp_path)), estimate(plan_of(tmp_path, ", max_n: 8"))
    assert capped.requests == 20 * 4 + 20
    assert capped.prompt_tokens == pytest.approx(whole.prompt_tokens * 5 / 2, rel=1e-6)
    assert "at most 8 chains each" in words(capped)


def test_a_cap_that_the_servers_taught_is_planned_with(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    cap = ServerCap(server="http://127.0.0.1:9/v1/chat/completions", model="my-model", max_n=8)
    with Corpus.open(plan.corpus_path) as corpus:
        corpus.learn_cap(replace(cap, model="another", max_n=2))
        corpus.learn_cap(cap)
    found = estimate(plan)
    assert found.requests == 20 * 4 + 20 and found.learned
    assert "at most 8 chains each, as the server gave before" in words(found)
    assert "as the server gave" not in words(estimate(plan_of(tmp_path, ", max_n: 4")))


def test_limits_a_minute_give_a_lower_bound_of_the_time(tmp_path: Path) -> None:
    assert estimate(plan_of(tmp_path)).least_seconds is None and "duration" not in words(estimate(plan_of(tmp_path)))
    plan = plan_of(tmp_path, ", requests_per_minute: 2")
    assert estimate(plan).least_seconds == (40 - 1) * 30  # one may go at once
    assert "duration    at least 19 min 30 s (lower bound: requests_per_minute 2)" in words(estimate(plan))
    plan = plan_of(tmp_path, ", requests_per_minute: 1000, tokens_per_minute: 6000")
    before = estimate(plan)
    assert before.least_seconds == pytest.approx((before.prompt_tokens - 100) / 100)
    assert "tokens_per_minute 6,000; the tokens of the chains are not known yet and left out" in words(before)
    filled(plan, range(ENOUGH_CHAINS), 40)
    after = estimate(plan)
    assert after.least_seconds == pytest.approx((after.prompt_tokens + 40 * after.missing - 100) / 100)
    assert "left out" not in words(after)


def test_several_servers_share_the_time_and_the_bound_is_kept_by_the_client(tmp_path: Path) -> None:
    plan_of(tmp_path)
    two = ("teacher.base_url=[http://127.0.0.1:9/v1, http://127.0.0.1:8/v1]", "teacher.requests_per_minute=2")
    found = estimate(Plan.of(load(tmp_path / "e.yaml", two)))
    assert found.least_seconds == (20 - 1) * 30 and "at each of 2 servers" in words(found)
    clock = [0.0]
    pace = Pace(most=1, requests_a_minute=2, clock=lambda: clock[0])
    for _ in range(20):
        clock[0] += pace.reserve(0)
    assert clock[0] == pytest.approx(found.least_seconds)


def test_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    text = EXPERIMENT.format(corpus=tmp_path / "c.sqlite", teacher="").replace(
        "kind: openai", "kind: imported, name: x"
    )
    path.write_text(text.replace("  greedy: {target: greedy-cot}\n", ""), encoding="utf-8")
    assert words(estimate(Plan.of(load(path)))).endswith("0 of 0 are missing, for 0 questions")


def test_public_prices_come_from_the_kept_list(tmp_path: Path) -> None:
    pytest.importorskip("genai_prices")
    config = plan_of(tmp_path).experiment.teacher
    public = config.model_copy(update={"model": "gpt-4o-mini", "base_url": "https://api.openai.com/v1"})
    price = price_of(public)
    assert price is not None and price.source.startswith("genai-prices ") and "gpt-4o-mini" in price.source
    assert Decimal("0.01") < price.prompt < price.completion < Decimal(10)
    assert price_of(public.model_copy(update={"model": "nobody-knows-it"})) is None
    local = price_of(public.model_copy(update={"kind": "local"}))
    assert local is not None and local.of(prompt_tokens=10**9, completion_tokens=10**9) == 0
