"""Selected chains -> training examples: the targets of paper 2 and its baselines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scotd.answers import parse
from scotd.experiment.plan import Plan
from scotd.prompts import label_target_text, student_prompt, target_text
from scotd.types import Chain, Finish, Question, Selection, TrainingExample


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What one student is trained on: examples in the questions' order, and the counts behind them."""

    examples: tuple[TrainingExample, ...]
    selection: str
    kept: int
    dropped: dict[str, int]


def chain_examples(plan: Plan, chains: Iterable[Chain], selection: Selection) -> Examples:
    """Rationale and answer of every kept chain, rendered by the target template; targets of a question together."""
    kept = set(selection.kept)
    by_question: dict[str, list[Chain]] = {}
    for chain in chains:
        if chain.id in kept:
            by_question.setdefault(chain.question_key, []).append(chain)
    examples = [
        _example(plan, question, by_question[question.key]) for question in plan.train if question.key in by_question
    ]
    counts = selection.counts()
    return Examples(
        examples=tuple(examples),
        selection=selection.name,
        kept=counts.pop("kept"),
        dropped=dict(sorted(counts.items())),
    )


def label_examples(plan: Plan, labels: Mapping[str, str], source: str) -> Examples:
    """The answer alone. `labels` by question key; a question without one is counted as dropped."""
    examples = [
        TrainingExample(
            question_key=question.key,
            prompt=student_prompt(question, plan.templates),
            targets=(label_target_text(question, labels[question.key], plan.templates),),
            finished=(True,),
            weights=(1.0,),
        )
        for question in plan.train
        if question.key in labels
    ]
    missing = len(plan.train) - len(examples)
    return Examples(
        examples=tuple(examples),
        selection=f"labels: {source}",
        kept=len(examples),
        dropped={f"no {source} label": missing} if missing else {},
    )


def _example(plan: Plan, question: Question, chains: Sequence[Chain]) -> TrainingExample:
    targets: list[str] = []
    for chain in chains:
        parsed = parse(chain.text, question, chain.finish)
        assert parsed.answer is not None, "a selection keeps chains with an answer only"
        targets.append(target_text(question, parsed.rationale, parsed.answer, plan.templates))
    return TrainingExample(
        question_key=question.key,
        prompt=student_prompt(question, plan.templates),
        targets=tuple(targets),
        finished=tuple(chain.finish is not Finish.LENGTH for chain in chains),
        weights=(1.0,) * len(chains),
    )
