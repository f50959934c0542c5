"""Blind comparison: what is drawn, what is stored, what is computed."""

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from run_folders import EXPERIMENT, TEACHER, Seen, make_run
from scipy.stats import binom, binomtest
from studies import A, B, item, judge_all, make_study, pair, pick_of, question

from scotd.cli import cli
from scotd.corpus import Corpus
from scotd.errors import ConfigError, DataError, ScotdError
from scotd.judge.draw import draw, shares
from scotd.judge.measures import exact_interval, krippendorff_alpha, needed_items
from scotd.judge.model import ask, prompt, vote
from scotd.judge.new import Wanted, new_study
from scotd.judge.order import presentations
from scotd.judge.page import as_json, html, verdict, write
from scotd.judge.results import majority, results
from scotd.judge.sources import pair as pair_up
from scotd.judge.sources import rationale, read
from scotd.judge.store import Cast, Study
from scotd.judge.study import Pick, Sample, Side
from scotd.teachers import Ask, Outcome
from scotd.types import Completion, Fate, Finish, Usage

# ---- how many items, and how far raters agree -----------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.6, 0.65, 0.9])
def test_the_number_of_items_has_the_power_asked_for_and_one_fewer_has_not(rate: float) -> None:
    """Against every outcome of every experiment, by scipy's own exact test."""

    def power(n: int) -> float:
        found = [wins for wins in range(n + 1) if 2 * wins > n and binomtest(wins, n, 0.5).pvalue < 0.05]
        return float(sum(binom.pmf(wins, n, rate) for wins in found))

    n = needed_items(rate, power=0.8, confidence=0.95, ties=0.0)
    assert all(power(more) >= 0.8 for more in range(n, n + 12)) and power(n - 1) < 0.8


def test_ties_need_more_items_and_an_even_match_can_never_be_found() -> None:
    without, with_ties = (needed_items(0.65, power=0.8, confidence=0.95, ties=ties) for ties in (0.0, 0.5))
    assert 1.8 * without < with_ties < 2.2 * without
    for bad in ({"win_rate": 0.5}, {"win_rate": 1.1}, {"power": 1.0}, {"ties": 1.0}, {"win_rate": 0.501}):
        with pytest.raises(ConfigError, match=r"0.5|1.1|between|items"):
            needed_items(**{"win_rate": 0.6, "power": 0.8, "confidence": 0.95, "ties": 0.0, **bad})


def test_alpha_is_that_of_krippendorffs_own_example() -> None:
    """Section C of his text: four observers, twelve units, values missing; nominal alpha 0.743."""
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    units = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_alpha_knows_full_agreement_disagreement_and_nothing_to_compare() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b", "b"]]) == 1
    disagreeing = krippendorff_alpha([["a", "b"], ["b", "a"]])
    assert disagreeing is not None and disagreeing < 0
    assert krippendorff_alpha([["a"], ["b"]]) is None
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None


def test_the_interval_holds_one_half_exactly_where_the_test_does_not_reject() -> None:
    for n in (6, 17, 40):
        for wins in range(n + 1):
            low, high = exact_interval(wins, n, 0.95)
            assert (low <= 0.5 <= high) == (binomtest(wins, n, 0.5).pvalue >= 0.05), (wins, n)
    assert exact_interval(8, 20, 0.95) == pytest.approx(binomtest(8, 20).proportion_ci(0.95, method="exact"), abs=1e-12)


# ---- what is drawn --------------------------------------------------------------------------------------------------


def test_samples_are_of_their_pools_nested_and_by_task_in_proportion() -> None:
    pairs = [pair(n, task="books" if n % 4 else "maps", right=(True, n % 2 == 0)) for n in range(200)]
    small, large = (draw(pairs, tuple(Sample), n, seed=3) for n in (20, 40))
    assert small.pools == {"random": {"books": 150, "maps": 50}, "both right": {"books": 50, "maps": 50}}
    for sample in Sample:
        inside = [one.pair for one in small.items if sample in one.samples]
        assert len(inside) == 20
        assert Counter(one.question.task for one in inside) == shares(small.pools[sample], 20)
        outside = {one.pair.question.key for one in large.items if sample in one.samples}
        assert {one.question.key for one in inside} < outside
    assert all(one.pair.both_right for one in small.items if Sample.BOTH_RIGHT in one.samples)
    keys = [one.pair.question.key for one in small.items]
    assert len(set(keys)) == len(keys), "a pair of both samples stands there once"
    assert {one.pair.question.key for one in draw(pairs, tuple(Sample), 20, seed=4).items} != set(keys)


def test_shares_add_up_and_never_exceed_their_stratum() -> None:
    assert shares({"a": 3, "b": 3, "c": 3}, 4) == {"a": 2, "b": 1, "c": 1}
    assert shares({"a": 1, "b": 100}, 50) == {"a": 0, "b": 50} or shares({"a": 1, "b": 100}, 50) == {"a": 1, "b": 49}
    assert shares({"a": 2, "b": 3}, 9) == {"a": 2, "b": 3}


def test_each_rater_has_an_order_of_their_own_the_same_every_time_and_sides_fall_evenly() -> None:
    items = list(range(1, 201))
    anna, again, ben = (presentations(items, seed=1, rater=name, repeats=0.1) for name in ("anna", "anna", "ben"))
    assert anna == again and [one.item for one in anna] != [one.item for one in ben]
    assert [one.first for one in sorted(anna, key=lambda one: one.item)] != [
        one.first for one in sorted(ben, key=lambda one: one.item)
    ]
    first = [one.first for one in anna if not one.repeat]
    assert 70 < first.count("a") < 130
    assert sorted(one.item for one in anna if not one.repeat) == items
    assert sum(one.repeat for one in anna) == 20
    places = {(one.item, one.repeat): place for place, one in enumerate(anna)}
    assert all(places[one.item, False] < 100 <= places[one.item, True] for one in anna if one.repeat)


# ---- where texts come from ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "mine"
    make_run(folder, n=60, experiment={**EXPERIMENT, "name": "mine"})
    with Corpus.open(folder / "corpus.sqlite") as corpus:
        chains = list(corpus.chains())
        fates = [
            Fate(chain_id=one.id, question_key=one.question_key, dropped="wrong" if one.index % 2 else None)
            for one in chains
        ]
        corpus.save_selection("mine/scotd", "correct", fates)
    return folder


def test_a_source_is_a_student_a_teacher_or_a_selection(run: Path) -> None:
    student = read(f"{run}:scotd", "test", 0)
    assert len(student) == 60 and {text.right for text in student.values()} == {True, False}
    assert read(f"{run}:scotd:vote", "test", 0).keys() == student.keys()
    corpus = run / "corpus.sqlite"
    teacher = read(str(corpus), "train", 0)
    assert teacher == read(f"{corpus}:{TEACHER}", "train", 0) and len(teacher) == 40
    with Corpus.open(corpus, "ro") as opened:
        greedy = {chain.question_key: chain.text for chain in opened.chains() if chain.sampling.temperature == 0}
        kept = {chain.id for chain in opened.selected("mine/scotd", "correct")}
        texts = {(chain.question_key, chain.text) for chain in opened.chains() if chain.id in kept}
    assert {key: text.text for key, text in teacher.items()} == greedy, "the greedy chain where there is one"
    selected = read(f"{corpus}@mine/scotd/correct", "train", 0)
    assert {(key, text.text) for key, text in selected.items()} <= texts


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("{run}", "name one: .*:greedy-cot"),
        ("{run}:scotdd", "'scotdd'. Did you mean 'scotd'"),
        ("{run}:scotd:beam", "no answers 'beam' on 'test'. It has: greedy on contrast"),
        ("{run}/corpus.sqlite:nobody", "no chain of the teacher 'nobody'"),
        ("{run}/corpus.sqlite@mine/scotd/correkt", "Did you mean 'mine/scotd/correct'"),
        ("{run}/corpus.sqlite", "on a question of the split 'test'; choose another"),
        ("nowhere:scotd", "no such run folder or corpus. A source is"),
    ],
)
def test_a_source_that_is_none_is_refused_in_one_sentence(run: Path, named: str, words: str) -> None:
    with pytest.raises(ScotdError, match=words):
        read(named.format(run=run), "test", 0)


def test_a_run_without_a_corpus_that_can_be_read_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path / "mine")
    with sqlite3.connect(run / "corpus.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ScotdError, match=r"behind its answers cannot be read.* of corpus version 99"):
        read(f"{run}:scotd", "test", 0)


def test_pairs_leave_out_what_cannot_be_compared_and_count_it(run: Path) -> None:
    a, b = read(f"{run}:scotd", "test", 0), dict(read(f"{run}:undistilled", "test", 0))
    lone = b.pop(next(iter(b)))
    pairs, left_out = pair_up(a, b)
    assert left_out["only one source wrote about it"] == 1
    assert len(pairs) + sum(left_out.values()) == len(a)
    assert all(one.a != one.b for one in pairs) and left_out["both wrote the same"] > 0
    other = {lone.question.key: replace(lone, question=replace(lone.question, stem="Other words?"))}
    assert pair_up(a, other)[1]["the two sources were asked in other words"] == 1
    assert "So the answer" not in rationale(lone.question, " The guest is kind. So the answer is pleased.")


def test_a_study_is_planned_drawn_and_never_written_over(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    wanted = Wanted(a=f"{run}:scotd", b=f"{run}:undistilled", detect=0.9, seed=5, answers_shown=False)
    with new_study(path, wanted) as study:
        plan = study.settings.plan
        assert plan.items == needed_items(0.9, power=0.8, confidence=0.95, ties=0.2)
        drawn = [one for one in study.items.values() if Sample.RANDOM in one.samples]
        assert len(drawn) == plan.items
        assert not any("So the answer" in one.pair.a + one.pair.b for one in study.items.values())
    with pytest.raises(DataError, match="never written over"):
        new_study(path, wanted)
    assert path.stat().st_mode & 0o077 == 0, "it holds the raters' secrets"


# ---- the file -------------------------------------------------------------------------------------------------------


def test_a_vote_is_stored_once_however_often_it_comes(tmp_path: Path) -> None:
    with make_study(tmp_path / "s.sqlite") as study:
        anna = study.enrol("anna")
        cast = [study.cast(anna, 1, seen=0, pick=Pick.FIRST) for _ in range(3)]
        assert cast == [Cast.STORED, Cast.SAME, Cast.SAME] and study.revisions() == 1
        assert study.cast(anna, 1, seen=0, pick=Pick.SECOND) is Cast.STALE, "a second tab that did not see the first"
        assert [one.pick for one in study.votes()] == [Pick.FIRST]
        assert study.cast(anna, 1, seen=1, pick=Pick.SECOND) is Cast.STORED
        assert study.cast(anna, 1, seen=2, pick=None) is Cast.STORED
        assert study.cast(anna, 1, seen=2, pick=None) is Cast.SAME
        assert study.votes() == [] and study.last_place(anna) is None
        assert study.cast(anna, 1, seen=0, pick=Pick.FIRST) is Cast.STALE, "a click from before the undo"
        assert study.revisions() == 3, "what was cast is never removed"


def test_undo_means_the_vote_cast_last_wherever_it_stands(tmp_path: Path) -> None:
    with make_study(tmp_path / "s.sqlite") as study:
        anna = study.enrol("anna")
        for place in (1, 2, 5):
            study.cast(anna, place, seen=0, pick=Pick.TIE)
        study.cast(anna, 2, seen=1, pick=Pick.FIRST)
        assert study.last_place(anna) == 2
        study.cast(anna, 2, seen=2, pick=None)
        assert study.last_place(anna) == 5


def test_a_study_is_read_again_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    odd = pair(1)
    odd = replace(odd, question=replace(odd.question, stem="half \ud83d an emoji?"), a="\ud83d", right_a=None)
    with make_study(path, items=[item(1, odd), item(2)], rubric=("Clearer?",)) as made:
        anna = made.enrol("  anna   b ")
        made.cast(anna, 1, seen=0, pick=Pick.FIRST, rubric=[Pick.TIE], seconds=0.5)
        before = (made.settings, made.list_of(anna), made.votes())
    with Study.open(path) as study:
        assert (study.settings, study.list_of(anna), study.votes()) == before
        assert study.items[1].pair.a == "\ufffd" and study.items[2] == item(2)
        assert study.enrol("anna b") == anna and study.rater(anna.token) == anna
        assert study.rater("") is None and study.rater("é") is None
        with pytest.raises(DataError, match="1 to 60 characters, found 61"):
            study.enrol("x" * 61)
        with pytest.raises(ValueError, match="place 3"):
            study.cast(anna, 3, seen=0, pick=Pick.FIRST)


def test_a_time_that_cannot_be_is_none(tmp_path: Path) -> None:
    with make_study(tmp_path / "s.sqlite") as study:
        anna = study.enrol("anna")
        for place, seconds in ((1, 0.4), (2, 900.0), (3, -1.0), (4, float("nan"))):
            study.see(anna, place)
            study.cast(anna, place, seen=0, pick=Pick.FIRST, seconds=seconds)
        assert [one.seconds for one in study.votes()] == [0.4, None, None, None]


@pytest.mark.parametrize("kind", ["missing", "text", "corpus"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.sqlite"
    if kind == "text":
        path.write_text("hello " * 100)
    if kind == "corpus":
        Corpus.open(path).close()
    with pytest.raises(DataError, match=r"no such study|cannot be opened|no study"):
        Study.open(path)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from scotd.judge.store import Study
from scotd.judge.study import Pick
study = Study.open(Path({path!r}))
anna = study.enrol("anna")
for place in range(1, 8):
    study.cast(anna, place, seen=0, pick=Pick.FIRST)
print("stored", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_no_vote_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make_study(path).close()
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "stored\n"), done.stderr
    with Study.open(path) as study:
        assert [one.place for one in study.votes()] == list(range(1, 8))


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_an_item_goes_to_the_side_with_more_votes() -> None:
    assert majority(["a", "a", "b"]) == "a" and majority(["a", "b", None]) is None and majority(["b", None]) == "b"


def three_raters(path: Path) -> Study:
    """Two tasks of ten items: all prefer a on seven of each, b on two, nobody on one; cleo is contrary once."""
    items = [
        item(n, pair(n, task="books" if n <= 10 else "maps"), tuple(Sample) if n % 2 else (Sample.RANDOM,))
        for n in range(1, 21)
    ]
    study = make_study(path, items=items, repeats=0.2, rubric=("Clearer?",))
    sides: dict[int, Side | None] = {
        n: "a" if (n - 1) % 10 < 7 else "b" if (n - 1) % 10 < 9 else None for n in study.items
    }
    judge_all(study, "anna", sides)
    judge_all(study, "ben", sides)
    judge_all(study, "cleo", {**sides, 1: "b"})
    return study


def test_results_are_the_hand_count(tmp_path: Path) -> None:
    with three_raters(tmp_path / "s.sqlite") as study:
        found = results(study)
    by_name = {(group.sample, group.task): group for group in found.groups}
    whole = by_name[Sample.RANDOM, None]
    assert (whole.by_item.a, whole.by_item.b, whole.by_item.ties) == (14, 4, 2)
    assert whole.by_item.p == pytest.approx(binomtest(14, 18, 0.5).pvalue)
    assert (whole.by_vote.a, whole.by_vote.b, whole.by_vote.ties) == (41, 13, 6), "repeats are in no rate"
    assert (by_name[Sample.RANDOM, "maps"].by_item.a, by_name[Sample.RANDOM, "maps"].items) == (7, 10)
    assert by_name[Sample.BOTH_RIGHT, None].items == 10
    assert (found.judged, found.votes, found.several, found.repeated) == (20, 60, 20, 12)
    assert found.agreed == 12 and found.alpha is not None and 0.9 < found.alpha < 1
    assert [rater.done for rater in found.raters] == [24, 24, 24]
    assert found.order.first + sum(r.decided - r.first for r in found.raters) == found.order.decided == 54
    assert found.rubric[0][1].n == 0 and found.seconds is None


def test_a_difference_is_called_one_only_where_the_test_finds_it(tmp_path: Path) -> None:
    with make_study(tmp_path / "s.sqlite") as study:
        assert verdict(results(study)) == ("Nobody has judged yet.",)
        judge_all(study, "anna", dict.fromkeys(range(1, 6), "a"))
        (said,) = verdict(results(study))
        assert "5 were judged" in said and "no difference is shown, which does not show that they are equally" in said
        judge_all(study, "ben", dict.fromkeys(range(6, 21), "b"))
        (said,) = verdict(results(study))
        assert "people prefer mine:undistilled" in said


def test_neither_page_nor_json_holds_a_name_or_acts(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>\u202e"
    path = tmp_path / "s.sqlite"
    with make_study(path, a=f"runs/{nasty}:x", ask=nasty, rubric=(nasty,), left_out={nasty: 2}) as study:
        judge_all(study, "Anna Karenina", {n: "a" if n % 3 else None for n in study.items})
        study.put_model_votes([vote(study.settings, nasty, study.items[1], "a", said("1"))])
        page = write(results(study), tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    seen = Seen.of(text)
    assert "script" not in seen.tags and "\u202e" not in text and "<script>alert" not in text
    numbers = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert numbers["groups"][0]["by_item"]["ties"] == 6
    for held in (text, json.dumps(numbers)):
        assert "Anna" not in held and "Karenina" not in held


def test_the_page_says_ties_repeats_and_early_looks(tmp_path: Path) -> None:
    with three_raters(tmp_path / "s.sqlite") as study:
        whole = html(results(study))
        assert "12 of 12 repeated items got the same vote" in whole and "A language model" not in whole
        assert "looked at before its end" not in whole and "not independent" in whole
    with make_study(tmp_path / "t.sqlite") as study:
        judge_all(study, "anna", {1: "a"})
        assert "looked at before its end" in html(results(study))


# ---- a language model -----------------------------------------------------------------------------------------------


def said(text: str, finish: Finish = Finish.STOP) -> Completion:
    return Completion(text=text, finish=finish, n_tokens=3)


class Judge:
    """Prefers the chain that holds `word`; on items of `blind` it takes chain 1, on `mute` it says nothing usable."""

    name, batch, max_n = "scripted", 1, None

    def __init__(self, word: str, blind: set[int] = frozenset(), mute: set[int] = frozenset(), broken: int = 0) -> None:  # type: ignore[assignment]
        self.word, self.blind, self.mute, self.broken = word, blind, mute, broken
        self.asked: list[str] = []

    def complete(self, asks: Iterator[Ask]) -> Iterator[Outcome]:
        for one in asks:
            self.asked.append(one.question_key)
            if len(self.asked) <= self.broken:
                yield Outcome(ask=one, completions=(), usage=Usage(), error="HTTP 500: overloaded")
                continue
            number = int(one.question_key.partition("/")[2].partition("-")[0])
            first = one.prompt.words.partition("Chain 1: ")[2].partition("Chain 2: ")[0]
            number_said = "1" if number in self.blind or self.word in first else "2"
            text = "Hm." if number in self.mute else f"It is clearer. So the answer is {number_said}."
            yield Outcome(ask=one, completions=(said(text),), usage=Usage())


def test_a_model_is_asked_in_both_orders_resumes_and_stays_out_of_the_peoples_numbers(tmp_path: Path) -> None:
    with make_study(tmp_path / "s.sqlite", n=10) as study:
        judge_all(study, "anna", {n: "a" if n <= 8 else None for n in study.items})
        people = replace(results(study), models=())
        broken = Judge("Alpha", blind={3}, mute={4}, broken=2)
        came = ask(study, broken, chat=True, max_tokens=32)
        assert (came.received, came.failed) == (18, {"HTTP 500": 2})
        rest = Judge("Alpha", blind={3}, mute={4})
        came = ask(study, rest, chat=True, max_tokens=32)
        assert (came.received, came.there, sorted(rest.asked)) == (2, 18, sorted(broken.asked[:2]))
        found = results(study)
        assert replace(found, models=()) == people, "nothing about people has moved"
        (line,) = found.models
        assert (line.asked, line.tally.a, line.tally.b, line.inconsistent, line.unusable) == (10, 8, 0, 1, 1)
        assert (line.agreed, line.compared) == (6, 6) and line.first == 10
        page = html(found)
        assert "none of it is evidence for what people prefer" in page
        assert not any("scripted" in sentence for sentence in verdict(found))
        assert json.loads(as_json(found))["models"][0]["inconsistent"] == 1


def test_a_model_sees_what_a_rater_sees_and_no_source(tmp_path: Path) -> None:
    with make_study(tmp_path / "s.sqlite", n=1) as study:
        one = study.items[1]
        forwards, backwards = (prompt(study.settings, one, side, chat=True).words for side in ("a", "b"))
        assert forwards.index("Alpha") < forwards.index("Beta") and backwards.index("Beta") < backwards.index("Alpha")
        for text in (forwards, backwards):
            assert A not in text and B not in text and "scotd" not in text and "(B) library" in text
        assert prompt(study.settings, one, "a", chat=False).text is not None


@pytest.mark.parametrize(
    ("text", "pick", "reason"),
    [
        ("Chain 1 is fuller. So the answer is 1.", Pick.FIRST, None),
        ("So the answer is Chain 2.", Pick.SECOND, None),
        ("The answer is neither.", Pick.TIE, None),
        ("I like both.", None, "no answer given"),
        ("So the answer is 1. So the answer is 2.", None, "several answers"),
    ],
)
def test_what_a_model_says_is_read_as_chains_are(tmp_path: Path, text: str, pick: Pick | None, reason: str) -> None:
    with make_study(tmp_path / "s.sqlite", n=1) as study:
        read_vote = vote(study.settings, "m", study.items[1], "b", said(text))
    assert (read_vote.pick, read_vote.reason) == (pick, reason)
    assert read_vote.side == {Pick.FIRST: "b", Pick.SECOND: "a"}.get(pick)  # type: ignore[arg-type]


# ---- commands -------------------------------------------------------------------------------------------------------


def test_the_commands_make_a_study_and_say_what_came_out(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    made = CliRunner().invoke(
        cli, ["judge", "new", str(path), "--a", f"{run}:scotd", "--b", f"{run}:undistilled", "--items", "9"]
    )
    assert made.exit_code == 0, made.output
    assert "sample 'both right': 9 items" in made.output or "fewer than the 9 wanted" in made.output
    with Study.open(path) as study:
        judge_all(study, "anna", dict.fromkeys(study.items, "a"))
    shown = CliRunner().invoke(cli, ["judge", "results", str(path)])
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "study-results" / "results.html").is_file()
    refused = CliRunner().invoke(cli, ["judge", "serve", str(path.with_name("none.sqlite"))])
    assert isinstance(refused.exception, DataError)


def test_other_machines_are_let_in_by_links_only(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make_study(path).close()
    refused = CliRunner().invoke(cli, ["judge", "serve", str(path), "--host", "0.0.0.0"])
    assert isinstance(refused.exception, ConfigError) and "--rater" in str(refused.exception)


def test_picks_and_sides_are_each_others_reverse() -> None:
    for shown in presentations([1, 2, 3, 4], seed=0, rater="r", repeats=0):
        for side in ("a", "b", None):
            assert shown.side(pick_of(shown, side)) == side
    assert question(1).key == "books/q001"
