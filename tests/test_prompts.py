"""Prompts: the paper's form to the letter, chat turns, one shared prefix, and templates that are refused early."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scotd.answers import parse
from scotd.config import PromptConfig
from scotd.errors import ConfigError
from scotd.prompts import (
    STUDENT,
    TARGET,
    TEACHER,
    Templates,
    default_stop,
    label_target_text,
    student_prompt,
    target_text,
    teacher_prompt,
)
from scotd.types import Choice, Exemplar, Finish, Prompt, Question


def lettered(stem: str = "Where do you borrow a book?", gold: str | None = "B") -> Question:
    choices = (Choice(label="A", text="bank"), Choice(label="B", text="library"))
    return Question(id=stem, task="try", split="train", stem=stem, choices=choices, gold=gold)


def words(stem: str = "Soup cold. Was the guest pleased with the soup?") -> Question:
    choices = tuple(Choice(label=label, text=label) for label in ("pleased", "not pleased", "not said"))
    return Question(id=stem, task="try", split="train", stem=stem, choices=choices, gold="not pleased")


EXEMPLARS = [
    Exemplar(question=lettered(), rationale="Books are lent by libraries."),
    Exemplar(question=words(), rationale="Cold soup is a complaint.\n"),
]
PAPER = Templates.of(PromptConfig())
CHAT = Templates.of(PromptConfig(chat=True, student_chat=True))


def test_the_default_teacher_prompt_is_the_papers_form() -> None:
    assert teacher_prompt(lettered("What is red?"), EXEMPLARS, PAPER).text == (
        "Q: Where do you borrow a book?\n"
        "Answer Choices:\n"
        "(A) bank\n"
        "(B) library\n"
        "A: Books are lent by libraries. So the answer is (B).\n"
        "\n"
        "Q: Soup cold. Was the guest pleased with the soup?\n"
        "Answer Choices: pleased, not pleased, not said\n"
        "A: Cold soup is a complaint. So the answer is not pleased.\n"
        "\n"
        "Q: What is red?\n"
        "Answer Choices:\n"
        "(A) bank\n"
        "(B) library\n"
        "A:"
    )


def test_student_prompt_and_targets_continue_each_other_as_an_exemplar_does() -> None:
    prompt = student_prompt(lettered(), PAPER)
    target = target_text(lettered(), "Books are lent by libraries.", "B", PAPER)
    assert target == " Books are lent by libraries. So the answer is (B)."
    shown = teacher_prompt(lettered(), EXEMPLARS[:1], PAPER)
    assert shown.text == f"{prompt.text}{target}\n\n{prompt.text}"
    assert label_target_text(lettered(), "A", PAPER) == " The answer is (A)."
    assert label_target_text(words(), "not said", PAPER) == " The answer is not said."
    spelt = Templates.of(
        PromptConfig(label_target=" It is {{ words }} {{ answer }}.", target="{{ rationale }} {{ words }} {{ answer }}")
    )
    assert label_target_text(lettered(), "B", spelt) == f" It is {lettered().choices[1].text} (B)."
    assert target_text(lettered(), "R.", "A", spelt) == f"R. {lettered().choices[0].text} (A)"
    assert target_text(lettered(), "", "B", PAPER) == " So the answer is (B)."


def test_a_chat_has_a_system_message_and_a_pair_of_turns_for_each_exemplar() -> None:
    messages = teacher_prompt(lettered("What is red?"), EXEMPLARS, CHAT).messages
    assert messages is not None
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[1].content == "Where do you borrow a book?\nAnswer Choices:\n(A) bank\n(B) library"
    assert messages[2].content == "Books are lent by libraries. So the answer is (B)."
    assert messages[4].content == "Cold soup is a complaint. So the answer is not pleased."
    assert messages[5].content.startswith("What is red?")


def test_a_student_chat_is_one_user_turn_and_its_target_begins_with_a_word() -> None:
    messages = student_prompt(lettered(), CHAT).messages
    assert messages is not None
    assert [message.role for message in messages] == ["user"]
    assert target_text(lettered(), "Libraries.", "B", CHAT) == "Libraries. So the answer is (B)."
    assert label_target_text(lettered(), "B", CHAT) == "The answer is (B)."


def test_an_own_teacher_template_in_a_chat_is_the_one_user_message() -> None:
    source = "{{ 'chat' if chat else 'text' }}: {{ exemplars | length }} {{ question.stem }}"
    assert teacher_prompt(lettered("What?"), EXEMPLARS, Templates.of(PromptConfig(teacher=source))) == Prompt(
        text="text: 2 What?"
    )
    messages = teacher_prompt(
        lettered("What?"), EXEMPLARS, Templates.of(PromptConfig(teacher=source, chat=True))
    ).messages
    assert messages is not None
    assert [(message.role, message.content) for message in messages] == [("user", "chat: 2 What?")]


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(lambda text: text.strip())


@given(one=TEXTS, other=TEXTS, rationales=st.lists(TEXTS, max_size=4), chat=st.booleans())
def test_two_questions_share_the_few_shot_prefix(one: str, other: str, rationales: list[str], chat: bool) -> None:
    templates = CHAT if chat else PAPER
    exemplars = [Exemplar(question=lettered(f"{n}?"), rationale=text) for n, text in enumerate(rationales)]
    first, second = (teacher_prompt(lettered(stem), exemplars, templates) for stem in (one, other))
    if chat:
        assert first.messages is not None and second.messages is not None
        assert len(first.messages) == 2 * len(exemplars) + 2
        assert first.messages[:-1] == second.messages[:-1]
    else:
        assert first.text is not None and second.text is not None
        bare = student_prompt(lettered(one), PAPER).text, student_prompt(lettered(other), PAPER).text
        assert bare[0] is not None and bare[1] is not None
        prefix = first.text.removesuffix(bare[0])
        assert prefix == second.text.removesuffix(bare[1])
        assert all(text.strip() in prefix for text in rationales)


@pytest.mark.parametrize(
    "text", ["{{ 7 * 7 }}", "{% for x in y %}", "{{ question.gold }} {# no #}", "<b>&amp;</b> 'x'"]
)
def test_what_a_teacher_wrote_is_data(text: str) -> None:
    assert target_text(lettered(), text, "B", PAPER) == f" {text} So the answer is (B)."
    exemplar = Exemplar(question=lettered(text), rationale=text)
    rendered = teacher_prompt(lettered(text), [exemplar], PAPER).text
    assert rendered is not None
    assert rendered.count(text) == 3


@pytest.mark.parametrize(
    ("key", "source", "says"),
    [
        ("student", "Q: {{ question.stem }}\n{{ questoin.stem }}", r"prompt\.student, line 2: 'questoin' is undefined"),
        ("student", "{{ question.stem }} {{ question.gold }}", r"prompt\.student, line 1: .*gold"),
        ("teacher", "{{ question.stem }}\n\n{% for e in exemplars %}", r"prompt\.teacher, line 3: .*Mend the Jinja2"),
        ("teacher", "{% for e in exemplars %}{{ e.stem }}{% endfor %}", r"prompt\.teacher: .*question\.stem"),
        (
            "target",
            "{{ rational }} {{ answer }}",
            r"prompt\.target, line 1: 'rational' is undefined.*rationale, answer",
        ),
        ("target", "So the answer is {{ answer }}.", r"prompt\.target: .* whatever the rationale"),
        ("target", "{{ rationale }}", r"prompt\.target: .* whatever the answer. Put \{\{ answer \}\} in it"),
        ("label_target", "The answer is B.", r"prompt\.label_target: .* whatever the answer"),
        ("label_target", "{{ answer }}{{ rationale }}", r"prompt\.label_target, line 1: 'rationale' is undefined"),
        ("label_target", "{{ answer }}\n{{ 1 // 0 }}", r"prompt\.label_target, line 2: .*zero"),
        ("student", "{{ question.stem }}{{ ''.__class__.__mro__ }}", r"prompt\.student, line 1: .*unsafe"),
    ],
)
def test_a_wrong_template_is_refused_before_anything_runs(key: str, source: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Templates.of(PromptConfig.model_validate({key: source}))


def test_the_defaults_can_be_written_into_a_configuration() -> None:
    own = Templates.of(PromptConfig(teacher=TEACHER, student=STUDENT, target=TARGET))
    assert teacher_prompt(words(), EXEMPLARS, own) == teacher_prompt(words(), EXEMPLARS, PAPER)
    assert student_prompt(words(), own) == student_prompt(words(), PAPER)
    assert target_text(words(), "r", "not said", own) == target_text(words(), "r", "not said", PAPER)


def test_a_trailing_line_break_of_a_template_is_kept() -> None:
    templates = Templates.of(PromptConfig(student="{{ question.stem }}\n\n"))
    assert student_prompt(lettered("What?"), templates).text == "What?\n\n"


def test_templates_travel_to_worker_processes() -> None:
    copy = pickle.loads(pickle.dumps(PAPER))
    assert copy == PAPER
    assert teacher_prompt(words(), EXEMPLARS, copy) == teacher_prompt(words(), EXEMPLARS, PAPER)


def test_the_default_stop_ends_a_chain_before_the_next_question_and_never_inside_the_form() -> None:
    stops = default_stop(PAPER)
    assert stops == ("\n\n", "\nQ:")
    target = target_text(lettered(), "Books are lent by libraries.", "B", PAPER)
    for run_on in (f"{target}\n\nQ: next", f"{target}\nQ: next"):
        assert min(run_on.find(stop) for stop in stops if stop in run_on) == len(target)
    assert not any(stop in target for stop in stops)
    assert default_stop(CHAT) == ()
    assert default_stop(Templates.of(PromptConfig(teacher="Question: {{ question.stem }}"))) == ("\n\n",)


# Words of which statements are made, but no statement.
WORDS = [
    "so", "then", "thus", "and", "and,", "if", "the", "a", "A", "B", "(B)", "(a)", "not", "no", "no,", "wait,", "la",
    "actually", "final", "correct", "best", "library", "because", "pleased", "yes", "1", "(1)", "is\n", "**bold**", "«",
    "Therefore,", "所以", "answer", '"quoted"', "each",
]  # fmt: skip
# Any text, but for what a rationale is not: an answer statement, or a next question.
RATIONALES = st.one_of(
    st.text(st.sampled_from("abcdefgh ABCD ().,;:-'\"\n\u00e9\u4e2d\u0639*_{}%<>0123456789"), max_size=200),
    st.lists(
        st.sampled_from(WORDS),
        max_size=12,
    ).map(" ".join),
).map(str.strip)
STEMS = TEXTS
LABELS = st.sampled_from([("A", "B"), ("A", "B", "C", "D", "E"), ("a", "b"), ("1", "2", "3"), ("i", "ii", "iii")])
LABEL_SETS = st.sampled_from(
    [("positive", "negative"), ("yes", "no"), ("pleased", "not pleased", "not said"), ("True", "False"), ("1", "2")]
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    stem = draw(STEMS)
    if draw(st.booleans()):
        labels = draw(LABELS)
        choices = tuple(Choice(label=label, text=draw(TEXTS)) for label in labels)
    else:
        labels = draw(LABEL_SETS)
        choices = tuple(Choice(label=label, text=label) for label in labels)
    return Question(id="1", task="try", split="train", stem=stem, choices=choices, gold=None)


@given(question=questions(), rationale=RATIONALES, data=st.data())
def test_parsing_a_target_gives_back_rationale_and_label(
    question: Question, rationale: str, data: st.DataObject
) -> None:
    label = data.draw(st.sampled_from([choice.label for choice in question.choices]))
    for templates in (PAPER, CHAT):
        parsed = parse(target_text(question, rationale, label, templates), question, Finish.STOP)
        assert (parsed.answer, parsed.rationale) == (label, rationale)
        only = parse(label_target_text(question, label, templates), question, Finish.STOP)
        assert (only.answer, only.rationale) == (label, "")
