"""The local teacher with a tiny model: batches, the shared few-shot prompt, seeds, usage, and a real corpus behind."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from conftest import MakeModel

from scotd.corpus import Corpus
from scotd.models import durable_name, resolve
from scotd.progress import silent
from scotd.teachers import Ask, Outcome
from scotd.teachers.sampling import Want, sample
from scotd.types import Choice, Finish, Prompt, Question, SamplingParams

HOT = SamplingParams(temperature=1.0, max_tokens=12)
COLD = SamplingParams(temperature=0, max_tokens=12)
FEW_SHOT = "Q: is the sky blue?\nA: It is blue. So the answer is yes.\n\n"
CHOICES = (Choice(label="A", text="yes"), Choice(label="B", text="no"))


@pytest.fixture
def folder(make_model: MakeModel, tokenizer: Any, tmp_path: Path) -> Path:
    make_model("llama").save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


def teacher(folder: Path, batch_chains: int = 4, **changes: Any) -> Any:
    from scotd.config import TeacherConfig
    from scotd.teachers.local import LocalTeacher

    config = TeacherConfig(model=str(folder), batch_chains=batch_chains, precision="float32", device="cpu", **changes)
    return LocalTeacher(config, resolve(str(folder)))


def ask(k: int, n: int = 1, sampling: SamplingParams = HOT, few_shot: str = FEW_SHOT, first_seed: int = 0) -> Ask:
    return Ask(
        question_key=f"t/{k}",
        prompt=Prompt(text=few_shot + f"Q: what is {k}" + " or so" * (k % 3) + "?\nA:"),
        sampling=sampling,
        indices=tuple(range(n)),
        seeds=tuple(first_seed + 100 * k + index for index in range(n)),
    )


class Watched:
    """What the decoder was given, batch by batch: (chains, sampling, tokens of the shared prefix)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from scotd.decode import Decoder

        self.batches: list[tuple[int, SamplingParams, int]] = []
        original = Decoder.complete

        def complete(decoder: Decoder, prompts: Any, seeds: Sequence[Sequence[int]], params: SamplingParams) -> Any:
            prefix = 0 if decoder.prefix is None else len(decoder.prefix.tokens)
            self.batches.append((sum(map(len, seeds)), params, prefix))
            return original(decoder, prompts, seeds, params)

        monkeypatch.setattr(Decoder, "complete", complete)


def texts(outcomes: Sequence[Outcome]) -> dict[tuple[str, SamplingParams], tuple[str, ...]]:
    found = {
        (one.ask.question_key, one.ask.sampling): tuple(completion.text for completion in one.completions)
        for one in outcomes
    }
    assert len(found) == len(outcomes)  # one outcome for each ask
    return found


def test_batches_hold_what_fits_and_samples_alike(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    asks = [ask(0, 2), ask(1, 2), ask(2, 3), ask(3, 4), ask(4, 1), ask(5, 2, COLD), ask(6, 1, COLD), ask(7, 1)]
    outcomes = list(teacher(folder).complete(iter(asks)))
    assert sorted(one.ask.question_key for one in outcomes) == [f"t/{k}" for k in range(8)]
    assert all(len(one.completions) == len(one.ask.indices) and one.error is None for one in outcomes)
    assert sum(chains for chains, _, _ in watched.batches) == 16
    assert all(chains <= 4 for chains, _, _ in watched.batches)
    assert [chains for chains, _, _ in watched.batches] == [4, 3, 4, 1, 3, 1]
    assert sum(chains for chains, sampling, _ in watched.batches if sampling == COLD) == 3


def test_asks_are_pulled_when_their_batch_is_next_and_the_model_loads_with_the_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scotd.student import load

    pulled: list[int] = []

    def asks() -> Iterator[Ask]:
        for k in range(12):
            pulled.append(k)
            yield ask(k, 2)

    loads = Mock(wraps=load)
    monkeypatch.setattr("scotd.teachers.local.load", loads)
    model = teacher(folder)
    assert model.name == f"local:{durable_name(str(folder))}" and model.max_n == 4 and model.batch >= 1
    assert list(model.complete(iter(()))) == []
    assert loads.call_count == 0
    outcomes = model.complete(asks())
    next(outcomes)
    assert len(pulled) <= 3  # one batch, and the ask that showed it was full
    assert len(list(outcomes)) == 11
    assert loads.call_count == 1


def test_a_name_of_ones_own(folder: Path) -> None:
    assert teacher(folder, name="local:mine").name == "local:mine"


def test_the_few_shot_prompt_is_shared_from_batch_to_batch_and_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = [ask(k, 2) for k in range(6)] + [ask(6, 2, few_shot=FEW_SHOT[:40]), ask(7, 2), ask(8, 2, COLD)]
    watched = Watched(monkeypatch)
    shared = texts(list(teacher(folder).complete(iter(asks))))
    used = [prefix for _, _, prefix in watched.batches]
    assert used[:3] == [len(FEW_SHOT) + len("Q: what is ")] * 3  # one token a character
    assert all(40 <= prefix < len(FEW_SHOT) for prefix in used[3:])  # the sixth parts earlier
    monkeypatch.setattr("scotd.blocks.MIN_SHARED", 10_000)
    watched.batches.clear()
    assert texts(list(teacher(folder).complete(iter(asks)))) == shared
    assert {prefix for _, _, prefix in watched.batches} == {0}
    assert len({text for group in shared.values() for text in group}) >= 16


def test_seeds_make_chains_repeatable_whatever_the_batches(folder: Path) -> None:
    asks = [ask(k, 3) for k in range(5)]
    first = texts(list(teacher(folder).complete(iter(asks))))
    assert texts(list(teacher(folder).complete(iter(asks)))) == first
    assert texts(list(teacher(folder, batch_chains=64).complete(reversed(asks)))) == first
    other = texts(list(teacher(folder).complete(iter([ask(k, 3, first_seed=7777) for k in range(5)]))))
    assert all(set(group).isdisjoint(other[key]) for key, group in first.items())
    assert all(len(set(group)) == 3 for group in first.values())


def test_greedy_and_sampled_asks_may_be_mixed(folder: Path, make_model: MakeModel, tokenizer: Any) -> None:
    import torch

    asks = [one for k in range(4) for one in (ask(k, 2), ask(k, 1, COLD))]
    mixed = texts(list(teacher(folder).complete(iter(asks))))
    apart = texts(list(teacher(folder).complete(iter([one for one in asks if one.sampling == HOT]))))
    assert {key: group for key, group in mixed.items() if key[1] == HOT} == apart
    model = make_model("llama")
    for one in (one for one in asks if one.sampling == COLD):
        ids = torch.tensor([tokenizer(one.prompt.text)["input_ids"]])
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert mixed[one.question_key, COLD] == (
            tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True),
        )


def test_usage_counts_the_prompt_once_and_every_new_token(folder: Path, tokenizer: Any) -> None:
    (outcome,) = teacher(folder).complete(iter([ask(3, 4)]))
    assert outcome.usage.prompt_tokens == len(tokenizer(outcome.ask.prompt.text)["input_ids"])
    assert outcome.usage.completion_tokens == sum(one.n_tokens for one in outcome.completions)
    for one in outcome.completions:
        assert one.mean_logprob < 0
        assert one.n_tokens == 12 if one.finish is Finish.LENGTH else one.n_tokens <= 12


def test_sampling_into_a_corpus_and_topping_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [
        Question(id=str(k), task="t", split="train", stem=f"is {k} odd?", choices=CHOICES, gold="A") for k in range(5)
    ]

    def wants(n: int) -> list[Want]:
        prompts = {one.key: Prompt(text=FEW_SHOT + f"Q: {one.stem}\nA:") for one in questions}
        return [
            Want(question_key=key, prompt=prompt, sampling=sampling, n=count)
            for sampling, count in ((HOT, n), (COLD, 1))
            for key, prompt in prompts.items()
        ]

    watched = Watched(monkeypatch)
    with Corpus.open(tmp_path / "corpus.sqlite") as corpus:
        corpus.add_questions(questions)
        report = sample(corpus, teacher(folder), wants(6), progress=silent)  # 6 in asks of at most 4
        assert (report.asked, report.received, report.failed) == (35, 35, {})
        chains = list(corpus.chains())
        assert report.completion_tokens == sum(one.n_tokens or 0 for one in chains)
        assert {one.teacher for one in chains} == {f"local:{durable_name(str(folder))}"}
        keys = {one.key for one in questions}
        assert {(one.question_key, one.index) for one in chains if one.sampling == HOT} == {
            (key, index) for key in keys for index in range(6)
        }
        assert {(one.question_key, one.index) for one in chains if one.sampling == COLD} == {(key, 0) for key in keys}
        watched.batches.clear()
        again = sample(corpus, teacher(folder), wants(6), progress=silent)
        assert (again.asked, watched.batches) == (0, [])
        more = sample(corpus, teacher(folder), wants(8), progress=silent)
        assert (more.already_there, more.asked, more.received) == (35, 10, 10)
        assert sum(chains for chains, _, _ in watched.batches) == 10
        after = {one.id: one for one in corpus.chains()}
        assert len(after) == 45 and all(after[one.id] == one for one in chains)
        assert corpus.unaccounted() == []
