"""Filters: equal budgets, nothing but what is asked for, the paper's rule for open-ended questions."""

import random
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scotd.errors import ConfigError, DataError
from scotd.filters import FILTERS, Candidate, Filter, find, keep, spread_budgets, unique_bigrams
from scotd.types import Need

NUMBERS: Iterator[int] = count()


def candidate(rationale: str, **given_fields: object) -> Candidate:
    name = f"chain {next(NUMBERS)}"
    return Candidate(chain_id=name, rationale=rationale, answer="A", **given_fields)  # type: ignore[arg-type]


def kept(name: str, candidates: Sequence[Candidate], budget: int, seed: int = 0) -> list[int]:
    """Places of what a filter keeps, in order."""
    found = keep(FILTERS[name], "task/q1", candidates, budget, seed)
    return [place for place, one in enumerate(candidates) if one.chain_id in found]


def measured(need: Need, *values: float) -> list[Candidate]:
    return [candidate("r", measures={need: (value,)}) for value in values]


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(FILTERS)),
    texts=st.lists(st.text(alphabet="ab ", max_size=8), min_size=1, max_size=9),
    budget=st.integers(1, 10),
    seed=st.integers(0, 3),
)
def test_every_filter_keeps_exactly_its_budget_or_all_there_is(
    name: str, texts: list[str], budget: int, seed: int
) -> None:
    draw = random.Random(seed)
    candidates = [
        candidate(
            text,
            mean_logprob=-draw.random(),
            measures={
                Need.VECTOR: (len(text) + 1.0, text.count("a") + 0.5),
                Need.PERPLEXITY: (draw.random(),),
                Need.GAIN: (draw.random(),),
            },
        )
        for text in texts
    ]
    found = kept(name, candidates, budget, seed)
    assert len(found) == min(budget, len(candidates))
    assert kept(name, candidates, budget, seed) == found


def test_each_filter_keeps_what_its_name_says() -> None:
    texts = [candidate(text) for text in ("bb", "a", "cccc", "ddd", "a")]
    assert kept("shortest", texts, 2) == [1, 4]
    assert kept("longest", texts, 2) == [2, 3]
    likely = [candidate("r", mean_logprob=value) for value in (-0.5, -0.1, -0.9)]
    assert kept("teacher-likelihood", likely, 2) == [0, 1]
    assert kept("student-perplexity", measured(Need.PERPLEXITY, 2.0, 1.0, 3.0), 1) == [1]
    assert kept("student-gain", measured(Need.GAIN, 0.5, -1.0, 2.0), 1) == [2]


def test_a_blind_filter_goes_by_numbers_alone() -> None:
    blind = [name for name, one in FILTERS.items() if one.blind]
    assert blind == ["random"]
    texts = [candidate(text) for text in ("bb", "a", "cccc", "ddd")]
    unread = [Candidate(chain_id=one.chain_id, rationale="", answer="") for one in texts]
    assert kept("random", texts, 2) == kept("random", unread, 2)


def test_random_draws_anew_for_each_question_and_seed_and_prefers_none() -> None:
    candidates = [candidate(str(number)) for number in range(6)]
    names = {one.chain_id: place for place, one in enumerate(candidates)}
    drawn = [
        tuple(sorted(names[name] for name in keep(FILTERS["random"], f"t/q{question}", candidates, 2, seed)))
        for question in range(200)
        for seed in range(3)
    ]
    assert len(set(drawn)) == 15  # all pairs of six
    counts = [sum(place in pair for pair in drawn) for place in range(6)]
    assert all(150 <= found <= 250 for found in counts)  # 200 expected, standard deviation 12


def test_diversity_takes_one_of_each_cluster() -> None:
    directions = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]
    candidates = [
        candidate("r", measures={Need.VECTOR: (x + 0.01 * number, y)}) for x, y in directions for number in range(4)
    ]
    for seed in range(20):
        assert [place // 4 for place in kept("diversity", candidates, 3, seed)] == [0, 1, 2]


def test_diversity_keeps_its_budget_where_rationales_are_equal() -> None:
    same = [candidate("r", measures={Need.VECTOR: (1.0, 0.0)}) for _ in range(5)]
    other = candidate("s", measures={Need.VECTOR: (0.0, 1.0)})
    for seed in range(10):
        found = kept("diversity", [*same, other], 3, seed)
        assert len(found) == 3 and 5 in found


def test_without_the_teachers_log_probabilities_there_is_no_likelihood() -> None:
    with pytest.raises(DataError, match="1 of a question's 2 chains came without log-probabilities"):
        kept("teacher-likelihood", [candidate("r", mean_logprob=-1.0), candidate("r")], 1)


def test_open_ended_budgets_are_the_papers_at_five() -> None:
    spread = {f"q{number}": float(number) for number in range(20)}
    found = spread_budgets(spread, 5)
    assert [found[f"q{number}"] for number in range(20)] == [1] * 4 + [3] * 4 + [5] * 4 + [7] * 4 + [9] * 4


@given(budget=st.integers(1, 40), questions=st.integers(1, 60))
def test_open_ended_budgets_rise_and_keep_their_average(budget: int, questions: int) -> None:
    spread = {f"q{number:02}": float(number // 3) for number in range(questions)}
    found = spread_budgets(spread, budget)
    levels = [[found[key] for key in spread if spread[key] == level] for level in sorted(set(spread.values()))]
    assert all(max(lower) <= min(higher) for lower, higher in pairwise(levels))
    assert min(found.values()) >= 0
    if questions % 5 == 0:
        assert sum(found.values()) == budget * questions


def test_bigrams_are_counted_once_over_all_rationales_and_not_across_them() -> None:
    assert unique_bigrams(["the cat sat", "The cat ran", "on"]) == 3
    assert FILTERS["open-ended"].spread is unique_bigrams


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_filter_of_ones_own_is_a_function_in_a_file(tmp_path: Path) -> None:
    file = own(tmp_path, "def last(candidates, budget, draw):\n    return range(len(candidates))[-budget:]\n")
    candidates = [candidate(str(number)) for number in range(4)]
    assert keep(find("last", file), "t/q", candidates, 2, 0) == {one.chain_id for one in candidates[2:]}


def test_a_filter_of_ones_own_may_answer_in_numpys_numbers(tmp_path: Path) -> None:
    text = "import numpy as np\ndef mine(candidates, budget, draw):\n    return np.arange(len(candidates))[:budget]\n"
    candidates = [candidate("a"), candidate("b")]
    assert keep(find("mine", own(tmp_path, text)), "t/q", candidates, 1, 0) == {candidates[0].chain_id}


def test_ones_own_filter_reads_its_measures_by_name(tmp_path: Path) -> None:
    file = own(
        tmp_path,
        "def least(candidates, budget, draw):\n"
        "    return sorted(range(len(candidates)), key=lambda i: candidates[i].measures['gain'])[:budget]\n",
    )
    chosen = find("least", file, Need.GAIN)
    candidates = measured(Need.GAIN, 3.0, 1.0, 2.0)
    assert chosen.need is Need.GAIN
    assert keep(chosen, "t/q", candidates, 2, 0) == {one.chain_id for one in candidates[1:]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def last(a, b, c): ...", r"has no function 'lost'\. Did you mean 'last'"),
        ("def lost(a): ...", "'lost' must take"),
        ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError"),
        ("lost = 3", "has no function 'lost'"),
    ],
)
def test_what_is_wrong_with_ones_own_filter_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find("lost", own(tmp_path, text))


def test_a_filter_of_ones_own_that_fails_is_a_sentence_with_its_line(tmp_path: Path) -> None:
    file = own(tmp_path, "def least(candidates, budget, draw):\n    return [candidates[0].measures['gain'][0]]\n")
    with pytest.raises(ConfigError, match=r"mine\.py, line 2: 'least' failed: KeyError: 'gain'\."):
        keep(find("least", file), "t/q", [candidate("a")], 1, 0)


def test_names_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"filter 'diverse' is not known\. Did you mean 'diversity'"):
        find("diverse", None)
    with pytest.raises(ConfigError, match="no such file"):
        find("last", tmp_path / "nowhere.py")


@pytest.mark.parametrize("indices", [[0, 0], [0, 1, 2], [7], [-1], ["a"]])
def test_a_filter_that_returns_anything_else_is_refused(indices: list[int]) -> None:
    candidates = [candidate(str(number)) for number in range(4)]
    with pytest.raises(ConfigError, match="for 4 candidates and a budget of 2"):
        keep(Filter(choose=lambda *_: indices), "t/q", candidates, 2, 0)
