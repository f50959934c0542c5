"""Long stems: cut after so many words, under another id, counted, and never what is asked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.asking import Asking
from scotd.config import PromptConfig, QuestionsConfig
from scotd.corpus import Corpus
from scotd.errors import DataError
from scotd.tasks import load_questions, notes
from scotd.tasks.content import normalised
from scotd.tasks.cut import MARK, shortened
from scotd.tasks.exemplars import assert_not_exemplars, without_exemplars
from scotd.types import Choice, Exemplar, Question

LABELS = (Choice(label="negative", text="negative"), Choice(label="positive", text="positive"))


def question(identity: str, stem: str, split: str = "test", pair: str | None = None) -> Question:
    return Question(id=identity, task="t", split=split, stem=stem, choices=LABELS, gold="positive", pair=pair)


def test_a_long_stem_loses_its_last_words_and_a_short_one_nothing() -> None:
    long, short = question("long", "One  two\nthree four"), question("short", "One two three")
    cut, kept = shortened([long, short], 3)
    assert (cut.id, cut.stem, cut.cut_words) == ("long-first3", "One  two\nthree [...]", 1)
    assert kept is short


def test_a_pair_follows_its_question() -> None:
    both = [
        question("a", "w " * 9),
        question("b", "v"),
        question("c", "x " * 9, pair="a"),
        question("d", "y", pair="b"),
    ]
    assert [(q.id, q.pair) for q in shortened(both, 5)] == [
        ("a-first5", None),
        ("b", None),
        ("c-first5", "a-first5"),
        ("d", "b"),
    ]


@given(st.text(min_size=1).filter(str.strip), st.integers(1, 6))
def test_what_is_left_is_the_beginning_and_words_add_up(stem: str, limit: int) -> None:
    (cut,) = shortened([question("q", stem)], limit)
    left = cut.stem.removesuffix(MARK) if cut.cut_words else cut.stem
    assert stem.startswith(left)
    assert len(left.split()) == min(limit, len(stem.split()))
    assert cut.cut_words == len(stem.split()) - len(left.split())
    assert (cut.id == "q") == (cut.cut_words == 0)


def test_cuts_are_counted_by_split() -> None:
    questions = [question("a", "a b c d e"), question("b", "b c d e"), question("c", "c", "train"), question("d", "d")]
    found = notes(shortened(questions, 3))
    assert found == ("2 of 3 questions in 'test' are cut (questions.max_stem_words): 3 of their words are left out.",)
    assert notes(questions) == ()
    assert (
        "1 of 1 questions in 'test' is cut (questions.max_stem_words): 1 of its words are"
        in notes(shortened(questions[1:2], 3))[0]
    )


def test_a_change_that_is_cut_off_shows_as_a_repeat() -> None:
    pair = [question("a", "It was all so very good"), question("c", "It was all so very bad", "contrast", pair="a")]
    assert notes(shortened(pair, 4))[0].startswith("1 of the questions in 'contrast' is in 'test' too:")


def write_reviews(folder: Path, texts: list[str], header: str = "text,gold") -> dict[str, object]:
    rows = [f'"{text}",positive' for text in texts]
    (folder / "test.csv").write_text("\n".join([header, *rows]) + "\n")
    return {"task": "mine", "files": {"test": folder / "test.csv"}, "labels": ["negative", "positive"]}


def load(section: dict[str, object]) -> list[Question]:
    return load_questions(QuestionsConfig.model_validate(section))


def test_limits_choose_the_same_questions_cut_or_not(tmp_path: Path) -> None:
    section = write_reviews(tmp_path, [f"review {n} " + "word " * n for n in range(30)])
    section |= {"columns": {"question": "text", "answer": "gold"}, "limit": {"test": 9}}
    full, cut = load(section), load({**section, "max_stem_words": 12})
    assert [q.id for q in full] == [q.id.removesuffix("-first12") for q in cut]
    assert {bool(q.cut_words) for q in cut} == {True, False} and not any(q.cut_words for q in full)


@pytest.mark.parametrize(
    ("template", "refused"),
    [
        ("{text} Was the guest pleased?", True),
        ("{text} Was the guest pleased? {gold}", True),
        ("Was the guest pleased? {text}", False),
        ('Was the guest pleased? "{text}"', False),
        ("text", False),
    ],
)
def test_what_is_asked_is_never_cut_off(tmp_path: Path, template: str, refused: bool) -> None:
    section = write_reviews(tmp_path, ["so good", "so good " * 9])
    section |= {"columns": {"question": template, "answer": "gold"}, "max_stem_words": 10}
    if not refused:
        (short, cut) = load(section)
        assert short.cut_words == 0 and cut.cut_words > 0
        return
    with pytest.raises(DataError) as error:
        load(section)
    assert "test.csv, row 2 (line 3): the question has 2" in str(error.value)
    assert "cutting it to 10 (`questions.max_stem_words`) would take more than the end of its last column" in (
        str(error.value)
    )
    assert len(load({**section, "max_stem_words": 30})) == 2


def test_a_corpus_never_mixes_chains_of_cut_and_full_text(tmp_path: Path) -> None:
    questions = [question("long", "one two three four"), question("short", "one two")]
    with Corpus.open(tmp_path / "c.sqlite") as corpus:
        assert corpus.add_questions(questions).new == 2
        added = corpus.add_questions(shortened(questions, 3))
        assert (added.new, added.same) == (1, 1), "the short one keeps its chains, the cut one is a question of its own"
        assert corpus.add_questions(shortened(questions, 2)).new == 1
        assert {q.key for q in corpus.questions()} == {"t/long", "t/long-first3", "t/long-first2", "t/short"}


def test_a_cut_question_is_still_an_exemplar() -> None:
    full = question("q", "The keeper hardly speaks, yet I knew him.")
    exemplars = [Exemplar(question=full, rationale="r")]
    cut = shortened([full, question("other", "The keeper hard by the mill speaks.")], 3)
    assert all(q.cut_words for q in cut) and normalised(cut[0].stem) != normalised(full.stem)
    assert [q.id for q in without_exemplars(cut, exemplars)[0]] == ["other-first3"]
    with pytest.raises(DataError, match="is an exemplar of the prompt"):
        assert_not_exemplars(cut, exemplars)


def test_a_student_is_asked_as_long_as_it_was_trained() -> None:
    asking = Asking(
        task="t", prompt=PromptConfig(), words=True, labels=("a", "b"), columns=None, max_tokens=8, max_stem_words=2
    )
    assert asking.to_json()["max_stem_words"] == 2
    asked = asking.question("one two three", None)
    assert [q.stem for q in asking.as_trained([asked])] == ["one two [...]"]
