"""The parser on shapes that models really write: one row a shape, with what it has to become."""

# ruff: noqa: E501 (a row is read as a whole)

import re
import time
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scotd import reading
from scotd.answers import _STATEMENT, BEGINNINGS, RARE_BEGINNINGS, _statements, answer_of, parse
from scotd.languages import LANGUAGES
from scotd.reading import Text, words
from scotd.types import Choice, Finish, NoAnswer, Parsed, Question

STOP, LENGTH = Finish.STOP, Finish.LENGTH
EMPTY, CUT_OFF, MISSING = NoAnswer.EMPTY, NoAnswer.CUT_OFF, NoAnswer.MISSING
UNKNOWN, SEVERAL = NoAnswer.UNKNOWN_CHOICE, NoAnswer.SEVERAL


def lettered(*texts: str, labels: str = "ABCDEFGH") -> Question:
    choices = tuple(Choice(label=label, text=text) for label, text in zip(labels, texts, strict=False))
    return Question(id="1", task="try", split="test", stem="Which?", choices=choices, gold=None)


def label_set(*labels: str) -> Question:
    choices = tuple(Choice(label=label, text=label) for label in labels)
    return Question(id="2", task="try", split="test", stem="Which?", choices=choices, gold=None)


BOOK = lettered("bank", "library", "park", "library card", "bookshop")
CARD = BOOK  # D's text contains B's
DOG = lettered("cat", "dog", "bird")
QUAREL = lettered("carpet", "wood floor")
NUMBERED = lettered("bank", "library", "park", labels="123")
COUNTS = lettered("3", "1", "2", labels="123")
VITAMINS = lettered("fish", "A", "B vitamins", "minerals", labels="BCDE")
NONE = lettered("bank", "library", "none of the above")
TWICE = lettered("store", "Store", "park")
LONGER = lettered("salt", "salt and pepper", "salt and pepper")  # a choice begins what two others share
RUSSIAN = lettered("банк", "парк", "библиотека", labels="АБВ")
CHINESE = lettered("银行", "图书馆", "公园")
FEELING = label_set("positive", "negative")
GUEST = label_set("pleased", "not pleased", "not said")
HAPPY = label_set("pleased", "angry")
YES = label_set("yes", "no")
TRUE = label_set("True", "False")

R = "Books are lent by libraries."

SHAPES: list[tuple[Question, str, Finish, str | NoAnswer, str]] = [
    # The paper's form and its neighbours
    (BOOK, f" {R} So the answer is (B).", STOP, "B", R),
    (BOOK, f"{R} So the answer is (b).", STOP, "B", R),
    (BOOK, f"{R} So the answer is (b) library.", STOP, "B", R),
    (BOOK, f"{R} So the answer is B.", STOP, "B", R),
    (BOOK, f"{R} So the answer is B", STOP, "B", R),
    (BOOK, f"{R} So the answer is b", STOP, "B", R),
    (BOOK, f"{R} The answer is B. Note that A is where money is kept.", STOP, "B", R),
    (BOOK, f"{R} The answer is: (B)", STOP, "B", R),
    (BOOK, f"{R} Therefore, the correct answer is option B.", STOP, "B", R),
    (BOOK, f"{R} Thus the best choice is (B) library.", STOP, "B", R),
    (BOOK, f"{R} The final answer is most likely B, library.", STOP, "B", R),
    (BOOK, f"{R} Hence, answer choice (B).", STOP, MISSING, f"{R} Hence, answer choice (B)."),
    (BOOK, f"{R} So the answer choice is (B).", STOP, "B", R),
    (BOOK, f"{R} The answer to this question is B) library", STOP, "B", R),
    (BOOK, "Books are lent by libraries, so the answer is (b).", STOP, "B", "Books are lent by libraries"),
    (BOOK, f"{R}\n\nAnswer: B", STOP, "B", R),
    (BOOK, f"{R}\nanswer: B", STOP, "B", R),
    (BOOK, f"{R}\nAnswer - B", STOP, "B", R),
    (BOOK, f"{R}\nAnswer:\nB", STOP, "B", R),
    (BOOK, f"{R} Ans: [B]", STOP, "B", R),
    (BOOK, f"{R}\n#### B", STOP, "B", R),
    (BOOK, f"{R} I choose (B).", STOP, "B", R),
    (BOOK, f"{R} I would go with B.", STOP, "B", R),
    (BOOK, f"{R} So (B).", STOP, "B", R),
    (BOOK, f"{R} (B) is the correct answer.", STOP, "B", R),
    (BOOK, f"{R} Option B is correct.", STOP, "B", R),
    (BOOK, f"{R} So the library is the best choice.", STOP, "B", R),
    (BOOK, f"{R} The answer must be library.", STOP, "B", R),
    (BOOK, "The answer must be a place. Only a library lends. So the answer is (b) library.", STOP, "B", "The answer must be a place. Only a library lends."),
    # Nothing but the answer
    (BOOK, "(b)", STOP, "B", ""),
    (BOOK, "B.", STOP, "B", ""),
    (BOOK, "**B**", STOP, "B", ""),
    (BOOK, "B", STOP, "B", ""),
    (BOOK, " b) library", STOP, "B", ""),
    (BOOK, "Library.", STOP, "B", ""),
    (BOOK, "the library", STOP, "B", ""),
    (BOOK, "- (B) library", STOP, "B", ""),
    (BOOK, f"B\n\n{R}", STOP, "B", ""),
    (BOOK, f"{R}\n(B) library", STOP, "B", R),
    (BOOK, "(A) bank\n(B) library", STOP, SEVERAL, ""),
    # Markup
    (BOOK, f"{R} The answer is **B**.", STOP, "B", R),
    (BOOK, f"{R} **The answer is (B) library.**", STOP, "B", R),
    (BOOK, f"{R}\n\n**Answer:** B", STOP, "B", R),
    (BOOK, f"{R}\n\n## Answer: B", STOP, "B", R),
    (BOOK, f"{R} The answer is <b>B</b>.", STOP, "B", R),
    (BOOK, f"{R} <b>Answer: B</b>", STOP, "B", R),
    (BOOK, f"{R} \\boxed{{B}}", STOP, "B", R),
    (BOOK, f"{R} The answer is $\\boxed{{\\text{{B}}}}$.", STOP, "B", R),
    (BOOK, f"{R} The answer is `B`.", STOP, "B", R),
    (BOOK, '{"answer": "B"}', STOP, "B", ""),
    (BOOK, f'{R} {{"answer": "library"}}', STOP, "B", R),
    (BOOK, f"{R} The answer is “B”.", STOP, "B", R),
    (BOOK, f"{R}\r\nThe answer\r\nis (B).\r\n", STOP, "B", R),
    (BOOK, "First line.\n\nSecond line.\n\nSo the answer is (B).", STOP, "B", "First line.\n\nSecond line."),
    # The choice's text
    (BOOK, f"{R} So the answer is library.", STOP, "B", R),
    (BOOK, f"{R} So the answer is a library.", STOP, "B", R),
    (BOOK, f"{R} The answer is the library because it lends.", STOP, "B", R),
    (CARD, "You show it. So the answer is library card.", STOP, "D", "You show it."),
    (CARD, "You show it. So the answer is (d) library card.", STOP, "D", "You show it."),
    (CARD, "You show it. So the answer is (B) library card.", STOP, SEVERAL, "You show it."),
    (BOOK, f"{R} The answer is (B), where bank accounts are not kept.", STOP, "B", R),
    (BOOK, f"{R} The answer is (B). Bank accounts are not lent.", STOP, "B", R),
    (BOOK, f"{R} The answer is (A) library.", STOP, SEVERAL, R),
    (BOOK, f"{R} The answer is library (B).", STOP, "B", R),
    (BOOK, f"{R} The answer is library (A).", STOP, SEVERAL, R),
    (VITAMINS, "The answer is B vitamins.", STOP, "D", ""),
    (NONE, "Answer: None of the above", STOP, "C", ""),
    (TWICE, "The answer is store.", STOP, UNKNOWN, "The answer is store."),
    (TWICE, "The answer is (B) Store.", STOP, "B", ""),
    (TWICE, f"{R} So the answer is the store (B).", STOP, "B", R),
    (TWICE, "The answer is Store, (a).", STOP, "A", ""),
    (TWICE, "The answer is store (C).", STOP, UNKNOWN, "The answer is store (C)."),
    (TWICE, "The answer is store (A) or store (B).", STOP, SEVERAL, ""),
    (TWICE, "The answer is the store (A) or the store (B).", STOP, SEVERAL, ""),
    (LONGER, "The answer is salt and pepper (B).", STOP, "B", ""),
    (LONGER, "The answer is salt (A).", STOP, "A", ""),
    (LONGER, "The answer is salt and pepper (A).", STOP, "A", ""),
    # The article
    (DOG, "A dog is an animal.", STOP, MISSING, "A dog is an animal."),
    (DOG, "It barks. So the answer is a dog.", STOP, "B", "It barks."),
    (DOG, "It barks. So the answer is A dog.", STOP, SEVERAL, "It barks."),
    (DOG, "It barks. The answer is a wolf.", STOP, UNKNOWN, "It barks. The answer is a wolf."),
    (DOG, "A dog.", STOP, "B", ""),
    (DOG, "It purrs. The answer is A because cats purr.", STOP, "A", "It purrs."),
    (DOG, "It purrs. The answer is a.", STOP, "A", "It purrs."),
    (DOG, "It purrs. The answer is a cat.", STOP, "A", "It purrs."),
    (DOG, "It barks, e.g. at night. The answer is e.g. unclear.", STOP, UNKNOWN, "It barks, e.g. at night. The answer is e.g. unclear."),
    # Mentions are no answers
    (BOOK, R, STOP, MISSING, R),
    (BOOK, "A library (B) lends books, a bank (A) does not.", STOP, MISSING, "A library (B) lends books, a bank (A) does not."),
    (BOOK, "If the answer is A, one would keep money there. The answer is B.", STOP, "B", "If the answer is A, one would keep money there."),
    (BOOK, "Is it true that the answer is A? The answer is B.", STOP, "B", "Is it true that the answer is A?"),
    (BOOK, "(A) is the correct answer for money. So the answer is (B).", STOP, "B", "(A) is the correct answer for money."),
    (GUEST, "The guest was pleased with the food.", STOP, MISSING, "The guest was pleased with the food."),
    (BOOK, "The answer is obvious.", STOP, UNKNOWN, "The answer is obvious."),
    (BOOK, f"{R} So the answer is", STOP, MISSING, f"{R} So the answer is"),
    (BOOK, "Evaluate each answer choice:\n- A: no.\n- B: yes.\nThe answer is B", STOP, "B", "Evaluate each answer choice:\n- A: no.\n- B: yes."),
    (BOOK, f"{R} The answer that best fits this context is B: library.", STOP, "B", R),
    (BOOK, f"{R} Thus, the answer is B.The answer is B", STOP, "B", R),
    # Several statements
    (BOOK, f"{R} The answer is B. No, wait, the answer is C.", STOP, "C", f"{R} The answer is B. No, wait,"),
    (BOOK, f"{R} The answer is A. Actually, the answer is B.", STOP, "B", f"{R} The answer is A. Actually,"),
    (BOOK, f"{R} The answer is A. Sorry, I was wrong. The answer is B.", STOP, "B", f"{R} The answer is A. Sorry, I was wrong."),
    (BOOK, f"{R} The answer is A. The answer is B.", STOP, SEVERAL, R),
    (BOOK, f"{R} The answer is A.\nFinal answer: B", STOP, SEVERAL, R),
    (BOOK, f"{R} The answer is (B). Yes, the answer is (B).", STOP, "B", R),
    (BOOK, f"{R} The answer is (A) or (B).", STOP, SEVERAL, R),
    (BOOK, f"{R} The answers are A and B.", STOP, SEVERAL, R),
    (BOOK, f"{R} So the answer is either (b) library or (e) bookshop.", STOP, SEVERAL, R),
    (BOOK, f"{R} So the answer is (a) bank, (b) library, or (c) park.", STOP, SEVERAL, R),
    (BOOK, f"{R} So the answer is (b) library, (a) bank is wrong.", STOP, "B", R),
    (TWICE, f"{R} So the answer is (a) store or (c) park.", STOP, SEVERAL, R),
    (BOOK, f"{R} The answer is not (b). So the answer is (b).", STOP, "B", f"{R} The answer is not (b)."),
    (BOOK, f"{R} The answer is (b). The answer is not (b).", STOP, MISSING, f"{R} The answer is (b). The answer is not (b)."),
    (BOOK, f"{R} The answer is (b). No, the answer is not (b), the answer is (c).", STOP, "C", f"{R} The answer is (b). No, the answer is not (b),"),
    (BOOK, f"{R} The answer is A/B.", STOP, SEVERAL, R),
    (BOOK, f"{R} The answer is (B) and (A) is wrong.", STOP, "B", R),
    (YES, "The answer is yes and no.", STOP, SEVERAL, ""),
    # Denials
    (BOOK, "The answer is not (a).", STOP, MISSING, "The answer is not (a)."),
    (BOOK, "The answer is not (a). The answer is (b).", STOP, "B", "The answer is not (a)."),
    (BOOK, "The answer isn't A. So the answer is (B).", STOP, "B", "The answer isn't A."),
    (BOOK, "The answer cannot be bank. It is lent. The answer is library.", STOP, "B", "The answer cannot be bank. It is lent."),
    (BOOK, "Option A is not correct.", STOP, MISSING, "Option A is not correct."),
    # None of the choices
    (BOOK, f"{R} Answer: None of the above", STOP, UNKNOWN, R),
    (BOOK, f"{R} So the answer is (f).", STOP, UNKNOWN, R),
    (BOOK, f"{R} So the answer is F.", STOP, UNKNOWN, R),
    (BOOK, f"{R} So the answer is museum.", STOP, UNKNOWN, f"{R} So the answer is museum."),
    (FEELING, "The answer is neutral.", STOP, UNKNOWN, "The answer is neutral."),
    (FEELING, "Fine acting. So the answer is (b).", STOP, UNKNOWN, "Fine acting."),
    # Cut off, empty
    (BOOK, "", STOP, EMPTY, ""),
    (BOOK, " \n\t", LENGTH, EMPTY, ""),
    (BOOK, "\u200b **", STOP, MISSING, "\u200b **"),
    (BOOK, "Books are lent by", LENGTH, CUT_OFF, "Books are lent by"),
    (BOOK, f"{R} So the answer is", LENGTH, CUT_OFF, f"{R} So the answer is"),
    (BOOK, f"{R} So the answer is (", LENGTH, CUT_OFF, f"{R} So the answer is ("),
    (BOOK, f"{R} So the answer is (B", LENGTH, CUT_OFF, f"{R} So the answer is (B"),
    (BOOK, f"{R} So the answer is a", LENGTH, CUT_OFF, f"{R} So the answer is a"),
    (BOOK, f"{R} So the answer is library", LENGTH, CUT_OFF, f"{R} So the answer is library"),
    (BOOK, f"{R} So the answer is (B)", LENGTH, "B", R),
    (BOOK, f"{R} So the answer is (B). Note that the", LENGTH, "B", R),
    (BOOK, f"{R} So the answer is (B). No, wait, the answer is C", LENGTH, CUT_OFF, f"{R} So the answer is (B). No, wait, the answer is C"),
    (GUEST, "He waited. So the answer is not", LENGTH, CUT_OFF, "He waited. So the answer is not"),
    (GUEST, "He waited. So the answer is not pleased", LENGTH, "not pleased", "He waited."),
    # Run on into a next question
    (BOOK, f"{R} So the answer is (B).\n\nQ: What is red?\nA: So the answer is (A).", STOP, "B", R),
    (BOOK, f"{R} So the answer is (B) library.\nQ: What is red?\nAnswer Choices:\n(A) b", LENGTH, "B", R),
    (BOOK, f"{R}\n\nQuestion: What is red?\nThe answer is C.", LENGTH, MISSING, R),
    (BOOK, f"{R} The answer is B.<|im_end|>\nThe answer is C.", STOP, "B", R),
    # Label sets
    (FEELING, "Fine acting. So the answer is positive.", STOP, "positive", "Fine acting."),
    (FEELING, "Positive", STOP, "positive", ""),
    (FEELING, " negative.\n\nThe film is dull.", STOP, "negative", ""),
    (FEELING, "Sentiment: negative", STOP, "negative", ""),
    (FEELING, 'The answer is "positive".', STOP, "positive", ""),
    (FEELING, "The answer is both positive and negative.", STOP, SEVERAL, ""),
    (FEELING, "Positive words outweigh negative ones.", STOP, MISSING, "Positive words outweigh negative ones."),
    (GUEST, "not pleased", STOP, "not pleased", ""),
    (GUEST, "So the answer is not pleased.", STOP, "not pleased", ""),
    (GUEST, "So the answer is pleased.", STOP, "pleased", ""),
    (GUEST, "The speed is not mentioned. So the answer is not said.", STOP, "not said", "The speed is not mentioned."),
    (GUEST, "So the answer is (not pleased).", STOP, "not pleased", ""),
    (GUEST, "So the answer is not\npleased.", STOP, "not pleased", ""),
    (HAPPY, "So the answer is not pleased.", STOP, MISSING, "So the answer is not pleased."),
    (YES, "Fish can swim. So the answer is yes.", STOP, "yes", "Fish can swim."),
    (YES, "Yes, because fish can swim.", STOP, "yes", ""),
    (YES, "No one can swim.", STOP, MISSING, "No one can swim."),
    (YES, "No.", STOP, "no", ""),
    (TRUE, "Answer: true", STOP, "True", ""),
    # Numbers as labels
    (NUMBERED, f"{R} So the answer is (2).", STOP, "2", R),
    (NUMBERED, f"{R} So the answer is 2. library", STOP, "2", R),
    (NUMBERED, f"{R} So the answer is (4).", STOP, UNKNOWN, R),
    (NUMBERED, f"{R} The answer is 12.", STOP, UNKNOWN, R),
    (COUNTS, "One. So the answer is (2).", STOP, "2", "One."),
    (COUNTS, "One. So the answer is (2) 1.", STOP, "2", "One."),
    (COUNTS, "One. So the answer is 1.", STOP, SEVERAL, "One."),
    # Other scripts and languages
    (BOOK, f"{R} The answer is （Ｂ）．", STOP, "B", R),
    (BOOK, f"{R} So the answer is Ｂ", STOP, "B", R),
    (BOOK, "图书馆借书。所以答案是B。", STOP, "B", "图书馆借书。"),
    (BOOK, "图书馆借书。答案：【B】", STOP, "B", "图书馆借书。"),
    (BOOK, "图书馆借书。因此选B。", STOP, "B", "图书馆借书。"),
    (CHINESE, "借书的地方。正确答案是图书馆。", STOP, "B", "借书的地方。"),
    (BOOK, "本を借ります。答えはBです。", STOP, "B", "本を借ります。"),
    (BOOK, "책을 빌립니다. 따라서 정답은 B입니다.", STOP, "B", "책을 빌립니다."),
    (BOOK, "Se prestan libros. La respuesta es (b).", STOP, "B", "Se prestan libros."),
    (BOOK, "On y prête des livres. Donc la bonne réponse est B.", STOP, "B", "On y prête des livres."),
    (BOOK, "Man leiht Bücher. Die richtige Antwort lautet (B).", STOP, "B", "Man leiht Bücher."),
    (BOOK, "Si prestano libri. Quindi la risposta corretta è (b).", STOP, "B", "Si prestano libri."),
    (BOOK, "Emprestam livros. Portanto, a resposta é (B).", STOP, "B", "Emprestam livros."),
    (BOOK, "المكتبة تعير الكتب. الإجابة الصحيحة هي (B).", STOP, "B", "المكتبة تعير الكتب."),
    (BOOK, "Книги выдают. Ответ: B", STOP, "B", "Книги выдают."),
    (BOOK, "Книги выдают. Ответ: (В)", STOP, UNKNOWN, "Книги выдают."),  # Cyrillic: their third letter
    (RUSSIAN, "Книги выдают. Правильный ответ: В", STOP, "В", "Книги выдают."),
    # QuaRel
    (QUAREL, "Wood is smooth. Thus, the toy rolls further on the wood floor. So the answer is (b).", STOP, "B", "Wood is smooth. Thus, the toy rolls further on the wood floor."),
]  # fmt: skip


def expected(rationale: str, outcome: str | NoAnswer) -> Parsed:
    if isinstance(outcome, NoAnswer):
        return Parsed(rationale=rationale, answer=None, reason=outcome)
    return Parsed(rationale=rationale, answer=outcome, reason=None)


@pytest.mark.parametrize(("question", "text", "finish", "outcome", "rationale"), SHAPES)
def test_shape(question: Question, text: str, finish: Finish, outcome: str | NoAnswer, rationale: str) -> None:
    parsed = parse(text, question, finish)
    assert parsed == expected(rationale, outcome)
    assert answer_of(text, question, finish) == (parsed.answer, parsed.reason)


def test_the_table_covers_every_outcome() -> None:
    assert len(SHAPES) >= 60
    assert {outcome for _, _, _, outcome, _ in SHAPES if isinstance(outcome, NoAnswer)} == set(NoAnswer)
    assert len({(question, text, finish) for question, text, finish, _, _ in SHAPES}) == len(SHAPES)


def test_every_language_of_the_table_has_a_shape() -> None:
    texts = [text.lower() for _, text, _, outcome, _ in SHAPES if not isinstance(outcome, NoAnswer)]
    for name, language in LANGUAGES.items():
        nouns = [noun.split("(")[0].rstrip("s?") for noun in language.noun.split("|")]
        assert any(noun in text for noun in nouns for text in texts), name


PIECES = [
    "The answer is", "answer:", "(B)", "(a)", "A", "a", "library", "not", "no,", "wait,", "or", "**", "\n", ".", "?", "\\boxed{",
    "}", "library card", "is the correct answer", "So", '"', "Q:", "答案是", "<b>", "İ", "Ⅷ", "ﬀ", "actually", "pleased", "1",
]  # fmt: skip
ANYTHING = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join))


@given(text=ANYTHING, question=st.sampled_from([BOOK, GUEST, COUNTS, YES, TWICE]), finish=st.sampled_from(Finish))
def test_every_text_has_an_answer_or_a_reason(text: str, question: Question, finish: Finish) -> None:
    parsed = parse(text, question, finish)
    assert (parsed.answer is None) != (parsed.reason is None)
    assert parsed.answer is None or parsed.answer in {choice.label for choice in question.choices}
    assert parsed.rationale == parsed.rationale.strip()
    assert parsed.rationale in text
    assert parsed.reason is not EMPTY or parsed.rationale == ""
    assert parsed.reason is not CUT_OFF or finish is LENGTH
    assert answer_of(text, question, finish) == (parsed.answer, parsed.reason)
    assert parse(text, question, finish) == parsed


@given(text=ANYTHING, question=st.sampled_from([BOOK, GUEST]))
def test_being_cut_off_never_changes_an_answer_into_another(text: str, question: Question) -> None:
    """A text that hit the limit gives the answer that it would have given by ending there, or none."""
    cut, ended = parse(text, question, LENGTH), parse(text, question, STOP)
    assert cut.answer in (None, ended.answer)


@given(
    words=st.lists(st.sampled_from(["dog", "barks", "is", "b", "small", "an", "animal", "cat"]), min_size=1, max_size=6)
)
def test_the_article_is_never_choice_a(words: list[str]) -> None:
    for text in (f"A {' '.join(words)} in the garden.", f"So the answer is a {' '.join(words)} in the garden."):
        assert parse(text, lettered("house", "tree", "bird")).answer != "A"


REPEATED = [
    "a", " ", "\n", "answer ", "The answer is ", "The answer is (B). ", "*", "** ", "_", "(", "the ", "so, ", "not ", "#",
    "the correct best final ", " is the correct answer", "(B)\n", "\\boxed{", "no, wait, ", "if the ", '"{[<', "答案是",
    "The answer is not ", "library ", "answer \n ", ". but ", "<b>", "\n ", "-", "answer: answer: ", "A, ", "A or ",
    "library card is the best answer. ", "answer that best fits ", "Q: ", "\r\n", "`", "$", "correct ",
]  # fmt: skip


@pytest.mark.parametrize("unit", REPEATED)
def test_200_kb_of_adversarial_text_take_less_than_three_seconds(unit: str) -> None:
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    start = time.process_time()  # the processor's seconds: a busy machine is no reason to fail
    parse(f"{text} So the answer is (B", BOOK, LENGTH)
    assert time.process_time() - start < 3


# ---- the short cut to where statements begin -------------------------------------------------------------------------


def _ways(pattern: str) -> list[str]:
    """A text for every branch of a regular expression, with what is optional once left out and once put in."""
    import re._parser as parser  # type: ignore[import-not-found]

    def texts(parsed: Any) -> list[str]:
        found = [""]
        for kind, value in parsed:
            name = str(kind)
            if name == "LITERAL":
                options = [chr(value)]
            elif name == "BRANCH":
                options = [text for branch in value[1] for text in texts(branch)]
            elif name == "SUBPATTERN":
                options = texts(value[3])
            elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
                least, _, inner = value
                options = [text * times for text in texts(inner) for times in {least, max(1, least)}]
            elif name == "IN":
                options = [" "] if str(value[0][0]) == "CATEGORY" else [chr(value[0][1])]
            else:
                assert name in ("ASSERT", "ASSERT_NOT", "AT"), f"{name} in {pattern}"
                options = [""]
            found = [start + option for start in found for option in options]
        return found

    return texts(parser.parse(pattern))


def test_every_beginning_of_a_statement_is_looked_for() -> None:
    beginnings = [text for field in ("noun", "phrase") for text in _ways(words(field))]
    assert {"answers", "ans", "antwort", "the correct choice is", "best one is"} <= set(beginnings)
    for text in filter(str.isascii, beginnings):
        assert text.startswith(BEGINNINGS) or any(rare in text for rare in RARE_BEGINNINGS), text


PIECES = [
    *("answer", "Answers", "ANS", "ans.", "answer answer", "transit answer", "the correct choice is", "best one is"),
    *(
        "####",
        "\\boxed{",
        "\\fboxed {",
        "respuesta es",
        "Antwort:",
        "risposta",
        "is",
        "are",
        ":",
        "not",
        "(B)",
        "B",
        ".",
    ),
    *(" ", "\n", "**", "`", "<b>", "é", "ſ", "答案是", "isn't", "should be", "=>", "\t", "  "),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
@settings(max_examples=500, deadline=None)
def test_the_short_cut_finds_what_a_search_of_the_whole_text_finds(text: str) -> None:
    read = Text.of(text)
    expected = [match.span() for match in _STATEMENT.finditer(read.read)]
    assert [match.span() for match in _statements(read)] == expected


@given(st.text(st.sampled_from("ab .,*_`<>/\\ \t\n\x0b\x1cé"), max_size=30))
@settings(max_examples=500, deadline=None)
def test_a_plain_text_reads_as_the_long_way_reads_it(text: str) -> None:
    with patch.object(reading, "_PERHAPS_MARKUP", re.compile("")):  # never found missing: the long way
        slowly = Text.of(text)
    quickly = Text.of(text)
    assert (quickly.read, quickly.low, list(quickly.places)) == (slowly.read, slowly.low, list(slowly.places))
