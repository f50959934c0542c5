"""The stage between sampling and training: pools, shares and filters on real files with tiny models."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiment import Scripted, write, write_student

from scotd.config import load
from scotd.corpus import Corpus
from scotd.embed import Embedder
from scotd.errors import ConfigError, ModelError
from scotd.experiment import measures
from scotd.experiment.plan import Plan
from scotd.experiment.run import run
from scotd.experiment.selections import Pool
from scotd.filters import Candidate, Filter, at_random
from scotd.models import resolve
from scotd.progress import silent
from scotd.prompts import label_target_text, student_prompt, target_text
from scotd.student import load as load_student
from scotd.types import Chain, Need

Select = Callable[..., dict[str, list[Chain]]]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    return write_student(tmp_path_factory.mktemp("base") / "student", tokenizer_folder)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A tiny random model of the kind that sentence-transformers loads from a bare transformers folder."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("embed") / "model"
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 96, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    BertModel(BertConfig(**sizes, num_attention_heads=2)).save_pretrained(folder)
    for path in tokenizer_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def select(student: Path, tmp_path: Path) -> Select:
    """Sample and select with these students; returns the chains that each one is trained on."""

    def chosen(**students: dict[str, Any]) -> dict[str, list[Chain]]:
        path = write(tmp_path / "bench", student, {name: {"target": "scotd", **one} for name, one in students.items()})
        experiment = load(path)
        said: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                sys.modules["scotd.experiment.run"], "build_teacher", lambda *_, **__: Scripted(tmp_path / "log")
            )
            run(experiment, until="select", say=said.append, progress=silent)
        found: dict[str, list[Chain]] = {}
        with Corpus.open(tmp_path / "bench" / "run" / "corpus.sqlite", "ro") as corpus:
            for name in students:
                kept = json.loads((tmp_path / "bench" / "run" / "selections" / f"{name}.json").read_text())["stored"]
                experiment_name, owner, selection = kept.split("/", 2)
                found[name] = list(corpus.selected(f"{experiment_name}/{owner}", selection))
        assert [line.split(": ")[1] for line in said if line.startswith("select: ")] == list(students)
        return found

    return chosen


def per_question(chains: list[Chain]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for chain in chains:
        found.setdefault(chain.question_key, []).append(chain.index)
    return found


def test_smaller_pools_are_parts_of_larger_ones(select: Select) -> None:
    found = select(
        whole={"selection": "all"},
        two={"selection": "all", "chains_per_question": 2},
        one={"selection": "all", "chains_per_question": 1},
        half={"selection": "all", "share": 0.5},
        third={"selection": "all", "share": 0.34},
    )
    ids = {name: {chain.id for chain in chains} for name, chains in found.items()}
    assert ids["one"] < ids["two"] < ids["whole"]
    assert ids["third"] < ids["half"] < ids["whole"]
    assert {index for indices in per_question(found["two"]).values() for index in indices} == {0, 1}
    assert (len(per_question(found["half"])), len(per_question(found["third"]))) == (3, 2)


def test_a_filter_keeps_its_budget_of_what_the_selection_kept(select: Select) -> None:
    found = select(
        right={},
        likely={"filter": {"name": "teacher-likelihood", "budget": 1}},
        drawn={"filter": {"name": "random", "budget": 2}},
        again={"filter": {"name": "random", "budget": 2}},
        spread={"filter": {"name": "open-ended", "budget": 5}},
    )
    right = per_question(found["right"])
    # the log-probability falls with the index: the first right chain is the likeliest
    assert per_question(found["likely"]) == {key: indices[:1] for key, indices in right.items()}
    drawn = per_question(found["drawn"])
    assert {key: len(indices) for key, indices in drawn.items()} == {key: min(2, len(i)) for key, i in right.items()}
    assert all(set(indices) <= set(right[key]) for key, indices in drawn.items())
    assert per_question(found["again"]) == drawn
    assert sorted(len(indices) for indices in per_question(found["spread"]).values())[0] == 1


def test_open_ended_looks_at_wrong_chains_too(select: Select, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(rationales: Iterable[str]) -> float:
        seen.append(len(list(rationales)))
        return 0.0

    monkeypatch.setattr("scotd.filters.FILTERS", {"open-ended": Filter(choose=at_random, spread=counted)})
    found = select(right={}, spread={"filter": {"name": "open-ended", "budget": 2}})
    right = per_question(found["right"])
    assert seen == [4] * len(right), "all that were sampled, of questions that have a right one"
    assert sum(seen) > sum(map(len, right.values()))


def test_what_a_model_measures_is_measured_once(
    select: Select, embedder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    students: dict[str, Any] = {
        "gain": {"filter": {"name": "student-gain", "budget": 1}},
        "perplexity": {"filter": {"name": "student-perplexity", "budget": 2}},
        "diverse": {"filter": {"name": "diversity", "budget": 2, "model": str(embedder)}},
    }
    found = select(**students)
    with Corpus.open(tmp_path / "bench" / "run" / "corpus.sqlite", "ro") as corpus:
        kinds = corpus.stats().scores
    assert len(kinds) == 2 and all(", scored-by student" in kind for kind in kinds)
    assert len(set(kinds.values())) == 1  # both numbers of every candidate, from one pass
    monkeypatch.setattr(measures, "measure_of", None)  # nothing is left to be measured
    assert select(**students) == found
    monkeypatch.undo()
    passes: list[int] = []
    monkeypatch.setattr(measures, "student_view", lambda *given: passes.append(1))
    changed = {**students, "gain": {"filter": {"name": "student-gain", "budget": 2}}}
    assert len(select(**changed)["gain"]) > len(found["gain"])
    assert passes == []  # another budget reads the stored numbers


def test_a_model_looks_at_chains_once_for_all_seeds(select: Select, embedder: Path, tmp_path: Path) -> None:
    diverse: dict[str, Any] = {"filter": {"name": "diversity", "budget": 2, "model": str(embedder)}}
    others: dict[str, dict[str, Any]] = {
        "fewer": {**diverse, "share": 0.5},
        "less": {"filter": {**diverse["filter"], "budget": 1}},
        "drawn": {"filter": {**diverse["filter"], "seed": 1}},
        "wrong": {**diverse, "selection": "all"},
        "gain": {"filter": {"name": "student-gain", "budget": 2}},
    }
    found = select(seed0=diverse, seed1={**diverse, "training": {"seed": 1}}, **others)
    assert found["seed0"] == found["seed1"]
    with Corpus.open(tmp_path / "bench" / "run" / "corpus.sqlite", "ro") as corpus:
        assert {run for run, _ in corpus.selections()} == {f"tiny/{name}" for name in ("seed0", *others)}


def test_a_filter_of_ones_own_gets_what_it_needs_from_a_model(select: Select, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    file = tmp_path / "bench" / "mine.py"
    mine = {"filter": {"name": "by_gain", "file": "mine.py", "need": "gain", "budget": 1}}
    text = (
        "def by_gain(candidates, budget, draw):\n"
        "    return sorted(range(len(candidates)), key=lambda i: SIGN * candidates[i].measures['gain'][0])[:budget]\n"
    )
    file.write_text("SIGN = -1\n" + text)
    found = select(mine=mine, same={"filter": {"name": "student-gain", "budget": 1}})
    most = per_question(found["mine"])
    assert most == per_question(found["same"])
    file.write_text("SIGN = 1\n" + text)
    least = per_question(select(mine=mine)["mine"])
    assert least.keys() == most.keys() and least != most, "chosen anew with the file as it is now"


def test_a_filter_of_ones_own_with_the_name_of_another_leaves_nothing_to_it(select: Select, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    text = (
        "def of(candidates, budget, draw):\n"
        "    return sorted(range(len(candidates)), key=lambda i: candidates[i].measures['gain'])[:budget]\n"
        "globals()['student-gain'] = of\n"
    )
    (tmp_path / "bench" / "mine.py").write_text(text)
    known = {"name": "student-gain", "budget": 1}
    least = select(one={"filter": {**known, "file": "mine.py", "need": "gain"}})["one"]
    most = select(one={"filter": known}, other={"filter": known})
    assert per_question(most["one"]) == per_question(most["other"]) != per_question(least)


def test_a_need_goes_with_a_file_of_ones_own(select: Select) -> None:
    with pytest.raises(ConfigError, match="`need` is for a filter of your own: give its `file`"):
        select(mine={"filter": {"name": "shortest", "need": "gain"}})


def test_a_filter_of_ones_own_is_read_from_its_file_and_anew_when_it_changes(select: Select, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    file = tmp_path / "bench" / "mine.py"
    file.write_text("def mine(candidates, budget, draw):\n    return range(min(budget, len(candidates)))\n")
    mine = {"filter": {"name": "mine", "file": "mine.py", "budget": 1}}
    first = per_question(select(mine=mine)["mine"])
    file.write_text("def mine(candidates, budget, draw):\n    return [len(candidates) - 1]\n")
    last = per_question(select(mine=mine)["mine"])
    assert first.keys() == last.keys() and first != last
    assert all(last[key][0] >= first[key][0] for key in first)


def test_a_filter_that_is_not_there_is_told_before_a_chain_is_asked_for(student: Path, tmp_path: Path) -> None:
    for settings, said in (
        ({"name": "divers"}, "students.it: filter 'divers' is not known. Did you mean 'diversity'"),
        ({"name": "mine", "file": "nope.py"}, "nope.py: no such file"),
    ):
        with pytest.raises(ConfigError, match=said):
            Plan.of(load(write(tmp_path / "bench", student, {"it": {"target": "scotd", "filter": settings}})))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target": "label-only", "filter": {"name": "random"}}, "learn none or one: leave it out"),
        ({"target": "scotd", "chains_per_question": 5}, "only 4 are sampled"),
        ({"target": "scotd", "share": 1.5}, "share"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    student: Path, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load(write(tmp_path / "bench", student, {"it": fields}))


def test_a_students_view_is_that_of_a_plain_pass(student: Path, tmp_path: Path) -> None:
    plan = Plan.of(load(write(tmp_path / "bench", student)))
    files = resolve(str(student))
    loaded = load_student(files, dtype=torch.float64, device=torch.device("cpu"))
    held = [
        (
            plan.train[number],
            [
                Candidate(chain_id=f"{number} {text}", rationale=text, answer=answer)
                for text, answer in (("One.", "yes"), ("no one says yes", "no"), ("", "yes"))
            ],
        )
        for number in range(2)
    ]
    found = measures.student_view(loaded, held, plan.templates)

    def nats(prompt: str, target: str, spelt: str) -> tuple[float, float]:
        """Nats of the target a token, end included, and of the answer: the tokenizer's tokens are characters."""
        start = loaded.tokenizer(prompt)["input_ids"]
        tokens = [*loaded.tokenizer(target, add_special_tokens=False)["input_ids"], loaded.tokenizer.eos_token_id]
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*start, *tokens]])).logits[0, len(start) - 1 : -1]
        each = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
        begin = target.rindex(spelt)
        return -float(each.mean()), float(each[begin : begin + len(spelt)].sum())

    for question, candidates in held:
        prompt = student_prompt(question, plan.templates).text
        assert prompt is not None
        for one in candidates:
            whole = target_text(question, one.rationale, one.answer, plan.templates)
            alone = label_target_text(question, one.answer, plan.templates)
            perplexity, answer = nats(prompt, whole, one.answer)
            assert found[Need.PERPLEXITY][one.chain_id] == pytest.approx(perplexity, abs=1e-6)
            gain = answer - nats(prompt, alone, one.answer)[1]
            assert found[Need.GAIN][one.chain_id] == pytest.approx(gain, abs=1e-6)


def test_vectors_have_length_one_and_tell_texts_apart(embedder: Path, student: Path, tmp_path: Path) -> None:
    vectors = Embedder(resolve(str(embedder))).encode(["one text", "another", "one text"])
    assert [sum(value * value for value in vector) for vector in vectors] == pytest.approx([1, 1, 1], abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[2]) and vectors[0] != pytest.approx(vectors[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError):
        Embedder(resolve(str(tmp_path / "empty")))


def test_a_pool_has_one_greedy_chain_a_question_or_all_sampled_ones(student: Path, tmp_path: Path) -> None:
    plan = Plan.of(load(write(tmp_path / "bench", student)))
    assert Pool.whole(plan, greedy=True).n == 1
    assert Pool.of(plan, "scotd").n == 4
