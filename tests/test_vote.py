"""A vote ignores order, lets unparsed chains abstain, and breaks ties without favour."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.vote import Vote, vote, win_rates

ANSWERS = st.lists(st.one_of(st.none(), st.sampled_from(["A", "B", "C", "not said", "ü"])), max_size=30)


def test_the_majority_wins() -> None:
    assert vote(["B", "A", "B", None, "C"], "t/1") == Vote(answer="B", tally={"B": 2, "A": 1, "C": 1}, tied=False)


def test_nobody_votes() -> None:
    nobody = Vote(answer=None, tally={}, tied=False)
    assert vote([], "t/1") == nobody
    assert vote([None, None], "t/1") == nobody


def test_unparsed_chains_abstain_even_in_the_majority() -> None:
    assert vote([None, None, None, "A"], "t/1").answer == "A"


@given(answers=ANSWERS, random=st.randoms())
def test_a_vote_ignores_order(answers: list[str | None], random: object) -> None:
    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = vote(answers, "t/1"), vote(shuffled, "t/1")
    assert first == second
    assert list(first.tally.items()) == list(second.tally.items())


@given(answers=ANSWERS)
def test_the_winner_has_the_most_votes_and_a_tie_is_told(answers: list[str | None]) -> None:
    result = vote(answers, "t/1")
    assert result.tally == Counter(answer for answer in answers if answer is not None)
    if result.answer is not None:
        most = max(result.tally.values())
        assert result.tally[result.answer] == most
        assert result.tied == (list(result.tally.values()).count(most) > 1)


def test_ties_favour_no_label_and_no_position() -> None:
    n = 4000
    results = [vote(["A", "B", "C", "D"], f"t/{number}") for number in range(n)]
    assert all(result.tied for result in results)
    wins = Counter(result.answer for result in results)
    expected, sigma = n / 4, (n * 0.25 * 0.75) ** 0.5
    assert set(wins) == {"A", "B", "C", "D"}
    assert all(abs(count - expected) < 4 * sigma for count in wins.values()), wins


def test_the_tie_rule_is_for_ever() -> None:
    """Pinned: another winner here would change the predictions of every stored run."""
    assert [vote(["A", "B"], f"csqa/{number}").answer for number in range(6)] == PINNED


PINNED = ["A", "B", "B", "B", "B", "B"]


@given(answers=st.lists(st.sampled_from([None, "A", "B", "C"]), max_size=8), number=st.integers(0, 5))
def test_win_rates_are_those_of_all_subsets(answers: list[str | None], number: int) -> None:
    key = f"t/{number}"  # ties go another way with another question
    for label in ("A", "B"):
        rates = win_rates(answers, label, key)
        assert len(rates) == len(answers)
        for size, rate in enumerate(rates, start=1):
            votes = [vote(subset, key).answer for subset in combinations(answers, size)]
            assert rate == pytest.approx(votes.count(label) / len(votes))


def test_win_rates_of_many_chains() -> None:
    answers = ["A"] * 16 + ["B"] * 10 + [None] * 4
    rates = win_rates(answers, "A", "t/1")
    assert rates[0] == pytest.approx(16 / 30) and rates[-1] == 1.0 == float(vote(answers, "t/1").answer == "A")
    assert rates[0] < rates[4] < rates[20] < 1
    assert win_rates([], "A", "t/1") == () and win_rates([None, None], "A", "t/1") == (0.0, 0.0)
