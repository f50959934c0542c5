"""Question + exemplars -> teacher prompt; question -> student prompt; rationale + label -> target text.

The default form is the paper's, after the chain-of-thought prompts of Wei et al. 2022 (arXiv 2201.11903):

    Q: Where do you go to borrow a book?
    Answer Choices:
    (A) bank
    (B) library
    A: Books are lent by libraries. So the answer is (B).

Exemplars stand one after the other with a blank line between them, then the bare question ending in "A:". The prompt
does not end in a space: tokenisers put the space in front of the word, so the target begins with it. A fixed label set
is one line, "Answer Choices: pleased, not pleased, not said", and its answer is the bare label.

Templates of your own (`prompt.teacher`, `.student`, `.target`, `.label_target` of the experiment file) are Jinja2 in a
sandbox; an unknown variable is an error, never an empty string. They see

    question   stem, choices (each with label and text), has_label_set          all four
    exemplars  list of the same with rationale and answer                        teacher
    rationale  the chain without its answer statement                            target
    answer     "(B)" for lettered choices, "positive" for a label set            target, label_target
    words      the text of that choice: "library"                                target, label_target
    chat       whether the text becomes a turn of a chat                         all four

What a teacher wrote reaches a template as a value, so braces in it stay braces. With `chat: true` the default teacher
prompt is a system message and one user/assistant pair for each exemplar; a teacher template of your own then becomes
the single user message.

    templates = Templates.of(experiment.prompt)
    teacher_prompt(question, exemplars, templates)
    student_prompt(question, templates), target_text(question, rationale, label, templates)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from scotd.config import PromptConfig
from scotd.errors import ConfigError
from scotd.types import Choice, Exemplar, Message, Prompt, Question

_ASK = (
    "{% macro ask(question) %}"
    "{% if not chat %}Q: {% endif %}{{ question.stem }}\nAnswer Choices:"
    "{% if question.has_label_set %} {{ question.choices | map(attribute='label') | join(', ') }}"
    "{% else %}{% for choice in question.choices %}\n({{ choice.label }}) {{ choice.text }}{% endfor %}{% endif %}"
    "{% if not chat %}\nA:{% endif %}"
    "{% endmacro %}"
)
STUDENT = _ASK + "{{ ask(question) }}"
TEACHER = _ASK + (
    "{% for exemplar in exemplars %}"
    "{{ ask(exemplar) }} {{ exemplar.rationale }} So the answer is {{ exemplar.answer }}.\n\n"
    "{% endfor %}"
    "{{ ask(question) }}"
)
TEACHER_ANSWERS = _ASK + (
    "{% for exemplar in exemplars %}{{ ask(exemplar) }} The answer is {{ exemplar.answer }}.\n\n{% endfor %}"
    "{{ ask(question) }}"
)
TARGET = "{% if not chat %} {% endif %}{% if rationale %}{{ rationale }} {% endif %}So the answer is {{ answer }}."
LABEL_TARGET = "{% if not chat %} {% endif %}The answer is {{ answer }}."

# Says nothing about one question, so that all questions of a run share the whole few-shot prefix.
INSTRUCTION = (
    "Think about the question in one short paragraph. End with 'So the answer is', followed by one of the answer "
    "choices as it is given: the letter in brackets where the choices have letters, otherwise the choice itself."
)
INSTRUCTION_ANSWERS = (
    "Answer with 'The answer is', followed by one of the answer choices as it is given: the letter in brackets where "
    "the choices have letters, otherwise the choice itself."
)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What a template sees of a question, and of an exemplar."""

    stem: str
    choices: tuple[Choice, ...]
    has_label_set: bool
    rationale: str | None = None
    answer: str | None = None


@dataclass(frozen=True)
class _Form:
    """One compiled template with the configuration key that names it in errors."""

    key: str
    source: str
    compiled: Template = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # No escaping: prompts are plain text.
        environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
        try:
            object.__setattr__(self, "compiled", environment.from_string(self.source))
        except TemplateSyntaxError as error:
            raise self._error(error, error.lineno) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.key, self.source))  # compiled templates do not pickle; workers compile again

    def render(self, **values: object) -> str:
        try:
            return self.compiled.render(**values)
        except Exception as error:  # a template can divide by zero, call what is no function, ...
            raise self._error(error, _line(error)) from None

    def _error(self, error: Exception, line: int | None) -> ConfigError:
        where = f"prompt.{self.key}" + ("" if line is None else f", line {line}")
        what = error.message if isinstance(error, TemplateError) and error.message else str(error)
        if isinstance(error, UndefinedError):
            remedy = f"A {self.key} template sees {_VARIABLES[self.key]}."
        elif isinstance(error, TemplateSyntaxError):
            remedy = "Mend the Jinja2 syntax; literal braces are written {{ '{' }}."
        else:
            remedy = "Mend the template; it is Jinja2 in a sandbox, without access to Python."
        return ConfigError(f"{where}: {what.rstrip('.')}. {remedy}")


_QUESTION_VARIABLES = "question (stem, choices, has_label_set)"
_VARIABLES = {
    "teacher": f"exemplars (stem, choices, has_label_set, rationale, answer), {_QUESTION_VARIABLES}, chat",
    "student": f"{_QUESTION_VARIABLES}, chat",
    "target": f"rationale, answer, words, {_QUESTION_VARIABLES}, chat",
    "label_target": f"answer, words, {_QUESTION_VARIABLES}, chat",
}


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The compiled forms of one experiment. Build it with `Templates.of`."""

    teacher: _Form
    teacher_answers: _Form  # its default without rationales
    student: _Form
    target: _Form
    label_target: _Form
    chat_question: _Form  # the default turns of a teacher chat, whatever the student is given
    chat_reply: _Form
    chat_reply_answers: _Form
    chat: bool
    student_chat: bool
    own_teacher: bool

    @classmethod
    def of(cls, config: PromptConfig) -> "Templates":
        """Compile the templates and try them out, so that a wrong one is an error now and not after hours of sampling.

        Raises ConfigError naming template, line and remedy: for syntax, for an unknown variable, and for a template
        whose text is the same whatever the question, rationale or answer.
        """
        templates = cls(
            teacher=_Form("teacher", TEACHER if config.teacher is None else config.teacher),
            teacher_answers=_Form("teacher", TEACHER_ANSWERS),
            student=_Form("student", STUDENT if config.student is None else config.student),
            target=_Form("target", TARGET if config.target is None else config.target),
            label_target=_Form("label_target", LABEL_TARGET if config.label_target is None else config.label_target),
            chat_question=_Form("student", STUDENT),
            chat_reply=_Form("target", TARGET),
            chat_reply_answers=_Form("label_target", LABEL_TARGET),
            chat=config.chat,
            student_chat=config.student_chat,
            own_teacher=config.teacher is not None,
        )
        _try_out(templates)
        return templates


def teacher_prompt(
    question: Question, exemplars: Sequence[Exemplar], templates: Templates, *, rationales: bool = True
) -> Prompt:
    """Return the few-shot prompt (paper 2, "Sampling"); without exemplars it is the bare question.

    Everything up to the last question is the same for all questions of a run, so a teacher computes it once. Without
    `rationales` the exemplars show their answers alone (the paper's No CoT); a template of your own sees empty ones.
    """
    return _few_shot(question, exemplars, templates, rationales=rationales, chat=templates.chat)


def _few_shot(
    question: Question, exemplars: Sequence[Exemplar], templates: Templates, *, rationales: bool, chat: bool
) -> Prompt:
    asked = _show(question)
    if chat and not templates.own_teacher:
        turns = _turns(tuple(exemplars), templates, rationales)
        content = templates.chat_question.render(question=asked, chat=True)
        return Prompt(messages=(*turns, Message(role="user", content=content)))
    shown = _demonstrated(exemplars, rationales)
    if chat:
        text = templates.teacher.render(exemplars=shown, question=asked, chat=True)
        return Prompt(messages=(Message(role="user", content=text),))
    form = templates.teacher if rationales or templates.own_teacher else templates.teacher_answers
    return Prompt(text=form.render(exemplars=shown, question=asked, chat=False))


@lru_cache(maxsize=64)
def _turns(exemplars: tuple[Exemplar, ...], templates: Templates, rationales: bool) -> tuple[Message, ...]:
    """What stands before the last question of a chat: the same objects for all questions of a run."""
    messages = [Message(role="system", content=INSTRUCTION if rationales else INSTRUCTION_ANSWERS)]
    form = templates.chat_reply if rationales else templates.chat_reply_answers
    for exemplar in _demonstrated(exemplars, rationales):
        reply = form.render(rationale=exemplar.rationale, answer=exemplar.answer, chat=True)
        messages.append(Message(role="user", content=templates.chat_question.render(question=exemplar, chat=True)))
        messages.append(Message(role="assistant", content=reply))
    return tuple(messages)


def _demonstrated(exemplars: Sequence[Exemplar], rationales: bool) -> list[_Shown]:
    shown = [_show_exemplar(exemplar) for exemplar in exemplars]
    return shown if rationales else [replace(exemplar, rationale="") for exemplar in shown]


def student_prompt(
    question: Question, templates: Templates, exemplars: Sequence[Exemplar] = (), *, rationales: bool = True
) -> Prompt:
    """Return the bare question, as the student sees it in training and in answering (paper 2, "Training").

    With `exemplars` they stand before it in the teacher's form (paper 3.5), `rationales` or answers alone.
    """
    if exemplars:
        return _few_shot(question, exemplars, templates, rationales=rationales, chat=templates.student_chat)
    text = templates.student.render(question=_show(question), chat=templates.student_chat)
    if templates.student_chat:
        return Prompt(messages=(Message(role="user", content=text),))
    return Prompt(text=text)


def target_text(question: Question, rationale: str, label: str, templates: Templates) -> str:
    """Return what a student is trained to write after `student_prompt`: the rationale, then the answer.

    `label` is one of the question's own. An empty rationale leaves the answer statement alone.
    """
    return templates.target.render(
        rationale=rationale,
        answer=answer_form(question, label),
        words=question.choice(label).text,
        question=_show(question),
        chat=templates.student_chat,
    )


def label_target_text(question: Question, label: str, templates: Templates) -> str:
    """Return the target of a label-only student (paper 2, "Baselines")."""
    return templates.label_target.render(
        answer=answer_form(question, label),
        words=question.choice(label).text,
        question=_show(question),
        chat=templates.student_chat,
    )


def answer_form(question: Question, label: str) -> str:
    """Return how a label is written: "(B)" for lettered choices, "positive" for a label set."""
    assert label in {choice.label for choice in question.choices}, (label, question.key)
    return label if question.has_label_set else f"({label})"


def default_stop(templates: Templates) -> tuple[str, ...]:
    """Return the stop strings of a teacher prompt, for a `sampling.stop` that is not set.

    In the completion form a blank line parts the exemplars, so it is the form's own end mark: a chain is one paragraph,
    and a model that goes on would write a next question. Some models start it after a single line break, hence "\\nQ:".
    A chain that needs two paragraphs ends without an answer and is counted as such: set `sampling.stop` there. A
    template of your own may begin its questions otherwise, so only the blank line is taken. A chat ends its own turn.
    """
    if templates.chat:
        return ()
    return ("\n\n",) if templates.own_teacher else ("\n\n", "\nQ:")


def _show(question: Question) -> _Shown:
    return _Shown(stem=question.stem, choices=question.choices, has_label_set=question.has_label_set)


def _show_exemplar(exemplar: Exemplar) -> _Shown:
    question = exemplar.question
    assert question.gold is not None
    return _Shown(
        stem=question.stem,
        choices=question.choices,
        has_label_set=question.has_label_set,
        rationale=exemplar.rationale.strip(),
        answer=answer_form(question, question.gold),
    )


def _line(error: BaseException) -> int | None:
    """Line of the template where rendering failed: Jinja2 gives the template's own frames the name `<template>`."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _try_out(templates: Templates) -> None:
    """Render everything for a lettered question and for a label set, and see that the text depends on what it must."""
    lettered = (Choice(label="A", text="bank"), Choice(label="B", text="library"))
    words = (Choice(label="yes", text="yes"), Choice(label="no", text="no"))
    for choices in (lettered, words):
        one, other = (
            Question(id=stem, task="try", split="try", stem=stem, choices=choices, gold=choices[0].label)
            for stem in ("first stem", "second stem")
        )
        first, last = choices[0].label, choices[1].label
        exemplars = [Exemplar(question=other, rationale="some rationale")]

        def differ(form: _Form, a: object, b: object, variable: str) -> None:
            if a == b:
                raise ConfigError(
                    f"prompt.{form.key}: the text is the same whatever the {variable}. Put {{{{ {variable} }}}} in it."
                )

        def target(rationale: str, label: str, asked: Question = one) -> str:
            return target_text(asked, rationale, label, templates)

        differ(templates.student, student_prompt(one, templates), student_prompt(other, templates), "question.stem")
        differ(
            templates.teacher,
            teacher_prompt(one, exemplars, templates),
            teacher_prompt(other, exemplars, templates),
            "question.stem",
        )
        differ(templates.target, target("r", first), target("r", last), "answer")
        differ(templates.target, target("one", first), target("two", first), "rationale")
        labels = [label_target_text(one, label, templates) for label in (first, last)]
        differ(templates.label_target, labels[0], labels[1], "answer")
