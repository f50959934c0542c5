"""`scotd preview`: what teacher and student read for one question, what is trained on, and where the loss is taken."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scotd.cli.base import EXPERIMENT, PLACEHOLDER, SET, load, missing_local, quiet_libraries, say
from scotd.cli.terminal import heading, indented, safe
from scotd.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from scotd.config import Experiment
    from scotd.experiment import Plan
    from scotd.models import ModelFiles
    from scotd.types import Chain, Prompt, Question

CHAINS = 2  # of a question that are shown as targets


@click.command(short_help="See prompts, targets and loss mask of one question.")
@EXPERIMENT
@SET
@click.option("--question", "wanted", metavar="ID", help="This question; otherwise the first one of the split.")
@click.option("--split", help="Take the question from this split; otherwise the training split.")
@click.option("--tokens", is_flag=True, help="Show tokens even if the student's files have to be fetched for it.")
def preview(experiment: Path, overrides: tuple[str, ...], wanted: str | None, split: str | None, tokens: bool) -> None:
    """Show one question of an EXPERIMENT as the models get it: the teacher's prompt, the student's prompt, the targets
    and the loss mask. Nothing is asked and nothing is trained."""
    settings = load(experiment, overrides)
    plan, question = _question(settings, wanted, split)
    # not the question's own split: with train_on that is another task's, which may call its training split otherwise
    learnt = plan.experiment.questions.train == settings.questions.train
    asking = plan if learnt else replace(plan, train=())  # exemplars are drawn for training, and fixed for answering
    view = _View(plan=plan, question=question, targets=_targets(plan, question), prompts=_prompts(asking, question))
    for line in view.texts():
        click.echo(line)
    for line in _tokens(view, fetch=tokens):
        click.echo(line)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One text that a student learns to write, and where it comes from. `finished`: an end token follows."""

    text: str
    origin: str
    finished: bool = True


@dataclass(frozen=True, kw_only=True)
class _Input:
    """All that decides the loss mask of a student: students that share it are shown once.

    `kind` is what it is trained to write, `model` whose tokens it reads, `longest` its limit of tokens.
    """

    kind: str
    prompt: "Prompt"
    model: str
    longest: int


@dataclass(frozen=True, kw_only=True)
class _View:
    """One question with all that is shown of it. `prompts` has the names of the students that are given each input."""

    plan: "Plan"
    question: "Question"
    targets: dict[str, tuple[_Target, ...]]
    prompts: dict[_Input, tuple[str, ...]]

    def texts(self) -> Iterator[str]:
        """Everything that needs no tokenizer."""
        from scotd.prompts import teacher_prompt

        plan, question = self.plan, self.question
        gold = "no label" if question.gold is None else f"label {question.gold}"
        yield f"Question {safe(question.key)} of the split '{question.split}', {safe(gold)}"
        sampling = plan.sampling
        stop = ", ".join(repr(text) for text in sampling.stop) or "its own end"
        yield (
            f"Asked: {plan.experiment.sampling.chains_per_question} chains at temperature {sampling.temperature:g}, at "
            f"most {sampling.max_tokens} tokens each, stop at {stop}"
        )
        yield ""
        exemplars = plan.exemplars[question.task]
        prompt = teacher_prompt(question, exemplars, plan.templates)
        yield heading(f"teacher prompt, {len(exemplars)} exemplars")
        yield _prompt_text(prompt)
        seen: dict[Prompt, list[str]] = {}
        for given, names in self.prompts.items():
            seen.setdefault(given.prompt, []).extend(names)
        for one, whose in zip(seen, self.titles(seen.values()), strict=True):
            yield ""
            yield heading("student prompt" if len(seen) == 1 else f"prompt of {whose}")
            yield _prompt_text(one)
        for kind, targets in self.targets.items():
            yield ""
            yield heading(f"target of a {kind} student")
            for target in targets:
                yield f"{safe(target.origin)}:"
                yield indented(f"[{target.text}]" + ("" if target.finished else "  (cut off: no end token is taught)"))
        if any(PLACEHOLDER in exemplar.rationale for exemplar in exemplars):
            yield ""
            yield f"The exemplars still hold '{PLACEHOLDER}': put your own in before you run."

    def titles(self, groups: Iterable[Sequence[str]]) -> list[str]:
        """What to call each group of students: by their rows, so that seeds stay together, and by their own names
        where a row is in several groups, as its name would not tell them apart."""
        students = self.plan.experiment.students
        rows = [{name: students[name].row or name for name in names} for names in groups]
        within = Counter(row for group in rows for row in set(group.values()))
        return [
            ", ".join(dict.fromkeys(row if within[row] == 1 else name for name, row in group.items())) for group in rows
        ]


def _question(settings: "Experiment", wanted: str | None, split: str | None) -> tuple["Plan", "Question"]:
    """The question, and a plan whose training split is the question's own: only the files it needs are read."""
    from scotd.tasks import load_questions

    files = settings.questions.files
    known = list(files or dict.fromkeys(question.split for question in load_questions(settings.questions)))
    if split is not None and split not in known:
        raise ConfigError(f"--split {split}: there is no such split.{did_you_mean(split, known)}")
    first = split or settings.questions.train
    names = [first] if wanted is None or split is not None else sorted(known, key=lambda name: name != first)
    absent = [name for name in names[1:] if files is not None and not files[name].is_file()]
    seen: list[str] = []
    for name in names:
        if name in absent:
            continue
        plan = _plan_of(settings, name)
        for question in plan.train:
            if wanted is None or wanted in (question.id, question.key):
                return plan, question
            seen.append(question.id)
    if wanted is None:
        raise DataError(f"The split '{first}' has no question besides the exemplars.")
    near = did_you_mean(wanted, seen)
    raise DataError(
        f"--question {wanted}: none of the {len(seen)} questions in {', '.join(n for n in names if n not in absent)} "
        "has this id (exemplars are left out)."
        + (near if near.startswith(" Did") else f" The first is '{seen[0]}'." if seen else "")
        + (f" There is no file yet for {', '.join(absent)}." if absent else "")
    )


def _plan_of(settings: "Experiment", split: str) -> "Plan":
    from scotd.config import EvaluationConfig
    from scotd.experiment import Plan

    questions = settings.questions
    update: dict[str, object] = {"train": split, "dev": None}
    if questions.files is not None:
        update["files"] = {name: path for name, path in questions.files.items() if name == split}
        update["limit"] = {name: count for name, count in questions.limit.items() if name == split}
    changed = {
        "questions": questions.model_copy(update=update),
        "evaluation": EvaluationConfig(splits=()),
        "train_on": settings.train_on if split == questions.train else (),
    }
    return Plan.of(settings.model_copy(update=changed))


def _targets(plan: "Plan", question: "Question") -> dict[str, tuple[_Target, ...]]:
    """Targets by kind of student, in the order of the file."""
    from scotd.types import Target

    kinds = dict.fromkeys(student.target for student in plan.experiment.students.values())
    found: dict[str, tuple[_Target, ...]] = {}
    for kind in kinds:
        if kind in (Target.SCOTD, Target.GREEDY_COT):
            found[kind.value] = _chain_targets(plan, question, greedy=kind is Target.GREEDY_COT)
        elif kind is Target.LABEL_ONLY:
            found[kind.value] = (_label_target(plan, question),)
    return found


def _prompts(plan: "Plan", question: "Question") -> dict[_Input, tuple[str, ...]]:
    """What trained students are given, with their names; the bare question where none is trained."""
    from scotd.prompts import student_prompt

    experiment = plan.experiment
    found: dict[_Input, tuple[str, ...]] = {}
    for name, student in experiment.students.items():
        if student.target.trained:
            key = _Input(
                kind=student.target.value,
                prompt=plan.prompt_for(name, question),
                model=student.model or experiment.student,
                longest=experiment.training_of(name).max_length,
            )
            found[key] = (*found.get(key, ()), name)
    bare = student_prompt(question, plan.templates)
    return found or {_Input(kind="", prompt=bare, model=experiment.student, longest=experiment.training.max_length): ()}


def _chain_targets(plan: "Plan", question: "Question", *, greedy: bool) -> tuple[_Target, ...]:
    """Real chains of the question where the corpus has some, else an exemplar's rationale in their place."""
    from scotd.answers import parse
    from scotd.prompts import target_text
    from scotd.types import Finish

    chains, where = _chains(plan, question, greedy=greedy)
    parsed = [(chain, parse(chain.text, question, chain.finish)) for chain in chains]
    usable = [(chain, one) for chain, one in parsed if one.answer is not None]
    usable.sort(key=lambda pair: pair[1].answer != question.gold)  # stable: right ones first, then by index
    if usable:
        return tuple(
            _Target(
                text=target_text(question, one.rationale, one.answer or "", plan.templates),
                origin=f"chain {chain.index} of {chain.teacher} at temperature {chain.sampling.temperature:g}"
                + _verdict(one.answer, question.gold),
                finished=chain.finish is not Finish.LENGTH,
            )
            for chain, one in usable[: 1 if greedy else CHAINS]
        )
    why = f"{where} holds no chain of this question" + (" with an answer" if chains else "")
    label = question.gold or question.choices[0].label
    if plan.exemplars[question.task]:
        return (
            _Target(
                text=target_text(question, plan.exemplars[question.task][0].rationale, label, plan.templates),
                origin=f"{why}: the rationale of the first exemplar stands in its place",
            ),
        )
    text = target_text(question, "(the teacher's rationale)", label, plan.templates)
    return (_Target(text=text, origin=f"{why}, and there is no exemplar: a placeholder stands in its place"),)


def _verdict(answer: str | None, gold: str | None) -> str:
    return "" if gold is None else ", right" if answer == gold else ", wrong"


def _chains(plan: "Plan", question: "Question", *, greedy: bool) -> tuple[Sequence["Chain"], str]:
    """The question's chains by the experiment's teacher, and the corpus as it is named to the user."""
    from scotd.corpus import Corpus
    from scotd.teachers import teacher_name
    from scotd.types import Target

    path = plan.corpus_path
    if not path.is_file():
        return (), f"the corpus (not made yet: {path})"
    with Corpus.open(path, "ro") as corpus:
        found = corpus.chains(question_keys=[question.key], teacher=teacher_name(plan.experiment.teacher))
        wanted = plan.reads_greedy(Target.GREEDY_COT if greedy else Target.SCOTD)
        return [chain for chain in found if (chain.sampling.temperature == 0) == wanted], str(path)


def _label_target(plan: "Plan", question: "Question") -> _Target:
    from scotd.prompts import label_target_text

    origin = "its label"
    if question.gold is None:
        origin = "no label is known: the first choice stands in its place"
    label = question.gold or question.choices[0].label
    return _Target(text=label_target_text(question, label, plan.templates), origin=origin)


def _prompt_text(prompt: "Prompt") -> str:
    if prompt.messages is None:
        return indented(prompt.text or "")
    return "\n".join(f"  {message.role}:\n{indented(message.content)}" for message in prompt.messages)


def _tokens(view: _View, *, fetch: bool) -> Iterator[str]:
    """The loss mask in tokens, or one line about why only texts are shown."""
    missing = missing_local()
    if missing is not None:
        yield ""
        yield (
            "Loss: on everything in [brackets] above and the end token after it, on nothing of the prompt. "
            f"Tokens are shown where {missing} is installed: pip install 'scotd[local]'."
        )
        return
    from scotd.models import here, resolve
    from scotd.progress import track

    for reference in dict.fromkeys(given.model for given in view.prompts if given.kind in view.targets):
        files = here(reference)
        if files is None and fetch:
            files = resolve(reference, progress=track)
        if files is None:
            yield ""
            yield f"Tokens: the files of {reference} are not on this machine; --tokens fetches them."
            continue
        quiet_libraries()
        if files.gguf_file is not None:
            say(f"reading the tokenizer of {reference}")
        yield from _rows(view, reference, files)


def _rows(view: _View, reference: str, files: "ModelFiles") -> Iterator[str]:
    """One row for every input of the students of one model: the question once, its targets as branches."""
    from scotd.cli.mask import row_lines
    from scotd.token_store import tokenize
    from scotd.tokens import load_tokenizer
    from scotd.tree import pack
    from scotd.types import TrainingExample

    tokenizer = load_tokenizer(files)
    kinds = Counter(given.kind for given in view.prompts)
    shown = {
        given: names for given, names in view.prompts.items() if given.model == reference and given.kind in view.targets
    }
    for given, whose in zip(shown, view.titles(shown.values()), strict=True):
        targets = view.targets[given.kind]
        example = TrainingExample(
            question_key=view.question.key,
            prompt=given.prompt,
            targets=tuple(target.text for target in targets),
            finished=tuple(target.finished for target in targets),
            weights=(1.0,) * len(targets),
        )
        encoded = list(tokenize([example], tokenizer, given.longest))
        too_long = len(targets) - sum(len(one.branches) for one in encoded)
        yield ""
        title = f"a {given.kind} student" if kinds[given.kind] == 1 else whose
        yield heading(f"loss mask of {title}, tokens of {reference}")
        if too_long:
            yield f"{too_long} of {len(targets)} chains left out: over training.max_length, {given.longest} tokens"
        for one in encoded:
            yield from row_lines(pack(one.prompt, one.branches), tokenizer)
