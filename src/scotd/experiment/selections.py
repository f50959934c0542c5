"""The stage between sampling and training: which chains or labels each student is trained on.

    pool (its questions, their first N chains)  ->  selection (a rule)  ->  filter (a budget)  ->  examples

What is chosen is stored in the corpus, a fate a chain, and streams from there into training.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice
from typing import Any

from scotd.answers import parse
from scotd.config import FilterConfig
from scotd.corpus import Corpus
from scotd.errors import RunError, did_you_mean
from scotd.experiment.examples import Examples, chain_examples, label_examples
from scotd.experiment.plan import Plan
from scotd.experiment.record import RunFolder
from scotd.filters import Candidate, Filter, find, keep, spread_budgets
from scotd.models import durable_name, resolve
from scotd.progress import Tracker
from scotd.select import majority_labels, select
from scotd.teachers import teacher_name
from scotd.types import Answered, Chain, Fate, Need, Question, Selection, Target, digest

QUESTIONS_AT_ONCE = 64  # whose candidates are measured together


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The chains that a student may be trained on: of some training questions those with a sample index below `n`."""

    plan: Plan
    questions: tuple[Question, ...]
    n: int
    greedy: bool = False

    @classmethod
    def whole(cls, plan: Plan, *, greedy: bool) -> "Pool":
        """All chains of an experiment, sampled or greedy."""
        n = 1 if greedy else plan.experiment.sampling.chains_per_question
        return cls(plan=plan, questions=plan.train, n=n, greedy=greedy)

    @classmethod
    def of(cls, plan: Plan, student: str) -> "Pool":
        """The part of them that a student is given: a smaller share of the questions is a part of a larger one."""
        config = plan.experiment.students[student]
        whole = cls.whole(plan, greedy=config.target is Target.GREEDY_COT)
        n = whole.n if whole.greedy else config.chains_per_question or whole.n
        ranked = sorted(plan.train, key=lambda question: digest(question.id))
        held = {question.key for question in ranked[: max(1, round(config.share * len(ranked)))]}
        return replace(whole, questions=tuple(question for question in plan.train if question.key in held), n=n)

    def chains(self, corpus: Corpus) -> Iterator[Chain]:
        """Stream them, those of a question together."""
        return (chain for chain in corpus.chains(**self._filters()) if chain.index < self.n)

    def answers(self, corpus: Corpus) -> Iterator[Answered]:
        """What they answer, in the same order. Raises RunError where there should be chains and are none."""
        found = (one for one in corpus.answered(self.plan.questions, **self._filters()) if one.index < self.n)
        first = next(found, None)
        if first is None:
            if self._imported:
                raise self._not_imported(corpus)
            return
        yield first
        yield from found

    def set_aside(self, corpus: Corpus) -> int:
        """How many of the questions have imported chains of the other kind alone, greedy or sampled."""
        if not self._imported:
            return 0
        own = self._filters()  # all chains, not the first `n` alone: what is left out as a whole is counted
        others = {chain.question_key for chain in corpus.chains(**{**own, "greedy": not own["greedy"]})}
        return len(others - {chain.question_key for chain in corpus.chains(**own)}) if others else 0

    @property
    def other_kind(self) -> str:
        """The chains that an imported teacher may have and these students do not learn from."""
        return "sampled chains" if self._reads_greedy else "chains at temperature 0"

    @property
    def _reads_greedy(self) -> bool:
        return self.plan.reads_greedy(Target.GREEDY_COT if self.greedy else Target.SCOTD)

    @property
    def _imported(self) -> bool:
        return self.plan.experiment.teacher.kind == "imported"

    def _filters(self) -> dict[str, Any]:
        """An imported teacher's prompts and settings are whatever they were; only its greedy chain is told from
        sampled ones."""
        chains = {
            "teacher": teacher_name(self.plan.experiment.teacher),
            "question_keys": [question.key for question in self.questions],
        }
        if self._imported:
            return {**chains, "greedy": self._reads_greedy}
        return {
            **chains,
            "sampling": self.plan.greedy_sampling if self.greedy else self.plan.sampling,
            "prompt_ids": [self.plan.teacher_prompts[question.key].id for question in self.questions],
        }

    def _not_imported(self, corpus: Corpus) -> RunError:
        name = teacher_name(self.plan.experiment.teacher)
        held = {one.teacher for one in corpus.stats().chains}
        if name not in held:
            return RunError(f"{corpus.path}: holds no chain of the teacher '{name}'.{did_you_mean(name, held)}")
        keys = [question.key for question in self.questions]
        if next(corpus.chains(teacher=name, question_keys=keys), None) is None:
            return RunError(
                f"{corpus.path}: holds chains of '{name}', but none for the {len(keys)} training questions of this "
                f"experiment: look at questions.path and questions.train."
            )
        if self._reads_greedy and not self.greedy:
            return RunError(
                f"{corpus.path}: holds no chain of '{name}' at temperature 0 for these questions, which "
                f"sampling.temperature asks for: set it above 0."
            )
        if self.greedy:
            return RunError(
                f"{corpus.path}: holds no chain of '{name}' at temperature 0 for these questions, and Greedy-CoT "
                f"learns from no other: import them with `--temperature 0`, or make it a student of target 'scotd'."
            )
        return RunError(
            f"{corpus.path}: holds no chain of '{name}' above temperature 0 for these questions, and only Greedy-CoT "
            f"learns from greedy ones: make it a student of target 'greedy-cot' (Label-Only: `labels: gold`), or "
            f"import with `--temperature`."
        )


def select_stage(
    plan: Plan, corpus: Corpus, folder: RunFolder, *, say: Callable[[str], None], progress: Tracker
) -> dict[str, Examples]:
    """What every trained student learns, by its name."""
    trainings: dict[str, Examples] = {}
    for name, student in plan.experiment.students.items():
        if not student.target.trained:
            continue
        with folder.stage("select", name) as record:
            made = examples_of(plan, corpus, name, progress)
            record.counts = {"kept": made.kept, **made.dropped}
            gold = student.target is Target.LABEL_ONLY and student.labels == "gold"
            pool = Pool.of(plan, name)
            aside = 0 if gold else pool.set_aside(corpus)
            if aside:
                record.counts["questions set aside"] = aside
        trainings[name] = made
        counts = {"kept": made.kept, "dropped": made.dropped, "questions": made.questions}
        folder.write(f"selections/{name}.json", {"name": made.selection, "stored": made.stored, **counts})
        dropped = ", ".join(f"{count} {reason}" for reason, count in made.dropped.items())
        say(
            f"select: {name}: {made.kept} targets for {made.questions} questions"
            + (f"; dropped: {dropped}" if dropped else "")
            + (f"; {aside} questions have {pool.other_kind} only, from which it does not learn" if aside else "")
        )
    return trainings


def examples_of(plan: Plan, corpus: Corpus, student: str, progress: Tracker) -> Examples:
    """What one trained student learns; its chains are chosen now, and stored as chosen."""
    if plan.experiment.students[student].target is Target.LABEL_ONLY:
        return _labels(plan, corpus, student)
    return _chains(plan, corpus, student, progress)


def _labels(plan: Plan, corpus: Corpus, student: str) -> Examples:
    """Gold labels, or in the few-shot setting the teacher's own vote over its sampled chains."""
    pool = Pool.of(plan, student)
    source = plan.experiment.students[student].labels
    if source == "gold":
        labels = {question.key: question.gold for question in pool.questions if question.gold is not None}
    else:
        labels = majority_labels(pool.answers(corpus))
    return label_examples(plan, student, pool.questions, labels, source)


def _chains(plan: Plan, corpus: Corpus, student: str, progress: Tracker) -> Examples:
    """Chains by rule, and within a budget where there is one."""
    config = plan.experiment.students[student]
    run, name = f"{plan.experiment.name}/{student}", str(config.selection)
    pool = Pool.of(plan, student)
    if config.filter is None:
        found = corpus.save_selection(run, name, select(name, pool.answers(corpus), plan.questions))
    else:
        narrowing = _Narrowing(pool=pool, corpus=corpus, student=student, config=config.filter, progress=progress)
        name = narrowing.name
        before = _before(plan, corpus, student, name) if narrowing.lasting else None
        run, found = before or (run, corpus.save_selection(run, name, narrowing.fates()))
    return Examples(
        stream=lambda: chain_examples(plan, student, corpus.selected(run, name)),
        selection=config.selection if config.filter is None else f"{config.selection}, {_label(config.filter)}",
        kept=found.kept,
        questions=found.questions,
        dropped=found.dropped,
        stored=f"{run}/{name}",
    )


def _before(plan: Plan, corpus: Corpus, student: str, name: str) -> tuple[str, Selection] | None:
    """A lasting selection, and under which run it is stored: that of this student, or an equal one of another: a model
    looks at the chains once for all seeds."""
    for other in (student, *plan.experiment.students):
        run = f"{plan.experiment.name}/{other}"
        if (found := corpus.selection(run, name)) is not None:
            return run, found
    return None


def _label(config: FilterConfig) -> str:
    return f"{config.budget} a question: {config.name}"


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The chains of one question: what the rule made of them, and those that it kept."""

    question: Question
    fates: Sequence[Fate]
    candidates: Sequence[Candidate]


@dataclass(frozen=True, kw_only=True)
class _Narrowing:
    """One filter at work on what a student's selection kept."""

    pool: Pool
    corpus: Corpus
    student: str
    config: FilterConfig
    progress: Tracker

    @cached_property
    def chosen(self) -> Filter:
        """The filter itself."""
        return find(self.config.name, self.config.file, self.config.need)

    @property
    def lasting(self) -> bool:
        """Whether a selection stored under this name is taken as it is: where choosing takes a model, and never that of
        a filter of the user's own, whose file may have changed."""
        return self.chosen.need is not None and self.config.file is None

    @property
    def name(self) -> str:
        """Of the stored selection. Where it lasts it tells the candidates and the model too, so that the same ones are
        not looked at again."""
        rule = self.pool.plan.experiment.students[self.student].selection
        if not self.lasting:
            return f"{rule}, {_label(self.config)}"
        told = hashlib.sha256(digest([self.config.seed, durable_name(self._model)]).encode())
        for fate in self._selected():
            told.update(f"{fate.chain_id} {fate.dropped}\n".encode())
        return f"{rule}, {_label(self.config)}, {told.hexdigest()[:16]}"

    def fates(self) -> Iterator[Fate]:
        """The fate of every chain, those over the budget dropped as such."""
        chosen, budget = self.chosen, self.config.budget
        budgets: dict[str, int] = {}
        if chosen.spread is not None:
            budgets = spread_budgets(self._spread(chosen.spread), budget)
        reason = f"over the budget of {_label(self.config)}"
        groups = self._groups()
        with self.progress(f"filter {self.config.name} for {self.student}, questions", len(self.pool.questions)) as bar:
            measure = None
            if chosen.need is not None:  # a model looks at the candidates: torch is imported from here on
                from scotd.experiment.measures import measure_of

                files = resolve(self._model, progress=self.progress)
                measure = measure_of(chosen.need, files, self.corpus, self.pool.plan.templates, self.progress)
            while several := list(islice(groups, QUESTIONS_AT_ONCE)):
                if measure is not None:
                    measured = measure([(group.question, group.candidates) for group in several])
                    several = [replace(group, candidates=found) for group, found in zip(several, measured, strict=True)]
                for group in several:
                    key = group.question.key
                    kept = keep(chosen, key, group.candidates, budgets.get(key, budget), self.config.seed)
                    for fate in group.fates:
                        over = fate.dropped is None and fate.chain_id not in kept
                        yield replace(fate, dropped=reason) if over else fate
                bar.advance(len(several))

    @property
    def _model(self) -> str:
        if self.config.model is not None:
            return self.config.model
        if self.chosen.need is Need.VECTOR:
            return "all-minilm-l6-v2"
        experiment = self.pool.plan.experiment
        return experiment.students[self.student].model or experiment.student

    def _selected(self) -> Iterator[Fate]:
        plan = self.pool.plan
        return select(plan.experiment.students[self.student].selection, self.pool.answers(self.corpus), plan.questions)

    def _spread(self, number: Callable[[Iterable[str]], float]) -> dict[str, float]:
        """The number of each question of which something was selected, from all its chains, right or wrong."""
        return {
            question.key: number(parse(chain.text, question, chain.finish).rationale for _, chain in held)
            for question, held in self._read()
            if any(fate.dropped is None for fate, _ in held)
        }

    def _read(self) -> Iterator[tuple[Question, list[tuple[Fate, Chain]]]]:
        """Rule and chains side by side, a question at a time: both streams have the corpus's order."""
        pairs = zip(self._selected(), self.pool.chains(self.corpus), strict=True)
        for key, group in groupby(pairs, key=lambda pair: pair[0].question_key):
            held = list(group)
            assert all(fate.chain_id == chain.id for fate, chain in held)
            yield self.pool.plan.questions[key], held

    def _groups(self) -> Iterator[_Group]:
        """What the filter chooses from; for a blind one no chain is read."""
        if self.chosen.blind:
            for key, fates in groupby(self._selected(), key=lambda fate: fate.question_key):
                known = list(fates)
                unread = [
                    Candidate(chain_id=fate.chain_id, rationale="", answer="") for fate in known if not fate.dropped
                ]
                yield _Group(question=self.pool.plan.questions[key], fates=known, candidates=unread)
            return
        for question, held in self._read():
            yield _Group(
                question=question,
                fates=[fate for fate, _ in held],
                candidates=[_candidate(chain, question) for fate, chain in held if fate.dropped is None],
            )


def _candidate(chain: Chain, question: Question) -> Candidate:
    parsed = parse(chain.text, question, chain.finish)
    assert parsed.answer is not None, "a selection keeps chains with an answer only"
    return Candidate(
        chain_id=chain.id,
        rationale=parsed.rationale,
        answer=parsed.answer,
        n_tokens=chain.n_tokens,
        mean_logprob=chain.mean_logprob,
    )
