"""What an experiment file amounts to before anything is computed: questions, prompts, wants. No model is touched."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scotd.config import DecodingConfig, Experiment
from scotd.errors import ConfigError, DataError, RunError
from scotd.filters import check
from scotd.prompts import Templates, default_stop, student_prompt, teacher_prompt
from scotd.tasks import hub_note, load_questions, notes
from scotd.tasks.exemplars import (
    assert_not_exemplars,
    assert_same_form,
    load_exemplars,
    shipped,
    without_exemplars,
)
from scotd.tasks.limits import require_splits
from scotd.teachers.sampling import Want
from scotd.types import Decoding, Exemplar, Prompt, Question, SamplingParams, Target, digest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An experiment with its questions loaded and its prompts ready.

    `train` is the pool that the teacher is asked about: exemplars are taken out of it (`exemplars_left_out`). It may
    hold questions of several tasks (`train_on`); `exemplars` is by task.
    """

    experiment: Experiment
    templates: Templates
    exemplars: Mapping[str, tuple[Exemplar, ...]]
    train: tuple[Question, ...]
    dev: tuple[Question, ...]
    evaluated: dict[str, tuple[Question, ...]]
    exemplars_left_out: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, experiment: Experiment) -> "Plan":
        """Load questions and exemplars and check that they fit together. Raises ConfigError or DataError."""
        settings = experiment.questions
        _check_filters(experiment)
        templates = Templates.of(experiment.prompt)
        questions = load_questions(settings)
        _check_splits(experiment, questions)
        exemplars = {settings.task: tuple(_exemplars(experiment))}
        assert_same_form(questions, exemplars[settings.task])
        pools = [(settings, questions)]
        if experiment.train_on:
            pools = [(source, load_questions(source)) for source in experiment.train_on]
        train: list[Question] = []
        dev: list[Question] = []
        for source, found in pools:
            if source.task not in exemplars:
                exemplars[source.task] = tuple(_exemplars_of(source.task))
                assert_same_form(found, exemplars[source.task])
            require_splits(found, [source.train], f"train of the task {source.task}")
            train += [question for question in found if question.split == source.train]
            dev += [question for question in found if question.split == source.dev]
        _check_exemplars(experiment, exemplars)
        demonstrated = [exemplar for several in exemplars.values() for exemplar in several]
        train, left_out = without_exemplars(train, demonstrated)
        evaluated = {
            split: tuple(question for question in questions if question.split == split)
            for split in experiment.evaluation.splits
        }
        for split in (dev, *evaluated.values()):
            assert_not_exemplars(split, demonstrated)
        return cls(
            experiment=experiment,
            templates=templates,
            exemplars=exemplars,
            train=tuple(train),
            dev=tuple(dev),
            evaluated=evaluated,
            exemplars_left_out=left_out,
            notes=(
                *(note for source in (settings, *experiment.train_on) if (note := hub_note(source)) is not None),
                *_overlap(experiment),
                *notes(
                    list({q.key: q for found in (questions, *(found for _, found in pools)) for q in found}.values())
                ),
            ),
        )

    @property
    def folder(self) -> Path:
        assert self.experiment.run_folder is not None  # config.load fills it in
        return self.experiment.run_folder

    @property
    def shipped(self) -> Path | None:
        """The file of chains that a run begins with. Raises DataError where it is named and not there."""
        path = self.experiment.import_chains
        if path is not None and not path.is_file():
            raise DataError(f"import_chains: {path}: no such file. Remove the setting, or use --fresh.")
        return path

    @property
    def corpus_path(self) -> Path:
        assert self.experiment.corpus is not None
        return self.experiment.corpus

    @cached_property
    def questions(self) -> dict[str, Question]:
        """All questions of the experiment by key."""
        everything = [*self.train, *self.dev, *(q for split in self.evaluated.values() for q in split)]
        return {question.key: question for question in everything}

    @cached_property
    def sampling(self) -> SamplingParams:
        """How the N chains of a question are drawn."""
        settings = self.experiment.sampling
        stop = default_stop(self.templates) if settings.stop is None else settings.stop
        return SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            min_p=settings.min_p,
            max_tokens=settings.max_tokens,
            stop=stop,
        )

    @cached_property
    def greedy_sampling(self) -> SamplingParams:
        """The teacher's one temperature-0 chain (paper 2, Greedy-CoT)."""
        return SamplingParams(temperature=0, max_tokens=self.sampling.max_tokens, stop=self.sampling.stop)

    @cached_property
    def teacher_prompts(self) -> dict[str, Prompt]:
        """The teacher's prompt by key of a training question."""
        return {
            question.key: teacher_prompt(question, self.exemplars[question.task], self.templates)
            for question in self.train
        }

    def reads_greedy(self, target: Target) -> bool:
        """Whether students of a target learn from chains at temperature 0: Greedy-CoT does, and all do where sampling
        itself is at 0."""
        return target is Target.GREEDY_COT or self.sampling.temperature == 0

    @property
    def wants_greedy(self) -> bool:
        return any(student.target is Target.GREEDY_COT for student in self.experiment.students.values())

    @property
    def wants_sampled(self) -> bool:
        students = self.experiment.students.values()
        return any(
            student.target is Target.SCOTD or (student.target is Target.LABEL_ONLY and student.labels == "teacher")
            for student in students
        )

    def wants(self) -> list[Want]:
        """Every chain the students need from the teacher, and its own answers where it is a row of the results."""
        return [*self._wants_for_training(), *self._wants_for_answers()]

    def _wants_for_training(self) -> list[Want]:
        kinds: list[tuple[SamplingParams, int]] = []
        if self.wants_sampled:
            kinds.append((self.sampling, self.experiment.sampling.chains_per_question))
        if self.wants_greedy and not (self.wants_sampled and self.greedy_sampling == self.sampling):
            kinds.append((self.greedy_sampling, 1))
        return [
            Want(question_key=question.key, prompt=self.teacher_prompts[question.key], sampling=sampling, n=n)
            for sampling, n in kinds
            for question in self.train
        ]

    def _wants_for_answers(self) -> list[Want]:
        wants: dict[tuple[str, str, SamplingParams], Want] = {}
        for name, student in self.experiment.students.items():
            if student.target is not Target.TEACHER:
                continue
            for split, questions in self.evaluated.items():
                for decoding in self.decodings(name, split).values():
                    for question in questions:
                        prompt = self.prompt_for(name, question)
                        key = (question.key, prompt.id, decoding.sampling)
                        n = max(decoding.votes, wants[key].n if key in wants else 0)
                        wants[key] = Want(question_key=question.key, prompt=prompt, sampling=decoding.sampling, n=n)
        return list(wants.values())

    def prompt_for(self, student: str, question: Question) -> Prompt:
        """What a student is given: the bare question, or the few-shot prompt where it was never trained.

        A trained student with exemplars sees as many of them: drawn anew for each training question, so that it learns
        to look at them, and the first ones of the task where it answers, so that they are computed once.
        """
        own = self.experiment.students[student]
        exemplars = self.exemplars[question.task]
        if not own.target.trained:
            shown = exemplars[: own.exemplars or None]
            return teacher_prompt(question, shown, self.templates, rationales=own.rationales)
        if question.key in self._trained_on:
            draw = random.Random(digest([own.exemplars, question.key]))
            exemplars = tuple(draw.sample(exemplars, own.exemplars))
        rationales = own.target is not Target.LABEL_ONLY
        return student_prompt(question, self.templates, exemplars[: own.exemplars], rationales=rationales)

    @cached_property
    def _trained_on(self) -> frozenset[str]:
        return frozenset(question.key for question in self.train)

    def decodings(self, student: str, split: str) -> dict[str, Decoding]:
        """The ways in which a student answers a split, by their name in the file."""
        settings = self.experiment.evaluation
        own = self.experiment.students[student]
        return {
            name: self.decoding(student, chosen)
            for name, chosen in settings.decodings.items()
            if (own.decodings is None or name in own.decodings) and (chosen.splits is None or split in chosen.splits)
        }

    def decoding(self, student: str, chosen: DecodingConfig) -> Decoding:
        """One way of decoding with the student's own cap on tokens; only a few-shot prompt needs stop strings."""
        own = self.experiment.students[student]
        stop = () if own.target.trained else default_stop(self.templates)
        params = SamplingParams(
            temperature=chosen.temperature,
            top_p=chosen.top_p,
            top_k=chosen.top_k,
            min_p=chosen.min_p,
            max_tokens=own.max_tokens or self.experiment.evaluation.max_tokens,
            stop=stop,
        )
        return Decoding(sampling=params, votes=chosen.votes)


def _exemplars(experiment: Experiment) -> Sequence[Exemplar]:
    named = experiment.prompt.exemplars
    if named is not None:
        return load_exemplars(named)
    task = experiment.questions.task
    if task in shipped():
        return load_exemplars(task)
    if experiment.teacher.kind == "imported" and not any(one.exemplars for one in experiment.students.values()):
        return []
    raise ConfigError(
        f"prompt.exemplars is missing: the task '{task}' ships none. Name a YAML file with 5 to 10 worked examples, "
        f"or one of {', '.join(shipped())}."
    )


def _exemplars_of(task: str) -> Sequence[Exemplar]:
    """Of a task that is trained on beside the evaluated one."""
    if task not in shipped():
        raise ConfigError(f"train_on: the task '{task}' ships no exemplars: name one of {', '.join(shipped())}.")
    return load_exemplars(task)


def _overlap(experiment: Experiment) -> Iterator[str]:
    task = experiment.questions.task
    if task in {source.task for source in experiment.train_on}:
        yield f"'{task}' is trained on and asked: it is no unseen task here."


def _check_filters(experiment: Experiment) -> None:
    """Told before a chain is paid for: an unknown filter, or a file that is not there."""
    for name, student in experiment.students.items():
        if student.filter is not None:
            try:
                check(student.filter.name, student.filter.file)
            except ConfigError as error:
                raise ConfigError(f"students.{name}: {error}") from None


def _check_exemplars(experiment: Experiment, exemplars: Mapping[str, Sequence[Exemplar]]) -> None:
    for name, student in experiment.students.items():
        for task in exemplars if student.target.trained else [experiment.questions.task]:
            if student.exemplars > len(exemplars[task]):
                more = ", or name a file with more of them in prompt.exemplars"
                raise ConfigError(
                    f"students.{name}.exemplars is {student.exemplars}, and the task '{task}' has "
                    f"{len(exemplars[task])}: ask for no more{more if task == experiment.questions.task else ''}."
                )


def _check_splits(experiment: Experiment, questions: Sequence[Question]) -> None:
    settings = experiment.questions
    require_splits(questions, experiment.evaluation.splits, "evaluation.splits")
    for name, decoding in experiment.evaluation.decodings.items():
        require_splits(questions, decoding.splits or (), f"evaluation.decodings.{name}.splits")
    if experiment.train_on:
        tasks = Counter(source.task for source in experiment.train_on)
        if max(tasks.values()) > 1:
            raise ConfigError(f"train_on names the task '{tasks.most_common(1)[0][0]}' twice: leave one out.")
        return
    require_splits(questions, [settings.train], "questions.train")
    if settings.train in experiment.evaluation.splits:
        raise ConfigError(f"evaluation.splits holds '{settings.train}', the training split: leave it out.")
    if settings.dev in experiment.evaluation.splits and experiment.training.evaluations > 0:
        raise ConfigError(
            f"evaluation.splits holds '{settings.dev}', on which checkpoints are picked: set questions.dev to null or "
            f"to another split, or training.evaluations to 0."
        )
    if not any(question.split == settings.train for question in questions):
        raise RunError(f"The split '{settings.train}' is empty.")
