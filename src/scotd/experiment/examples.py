"""Selected chains -> training examples: the targets of paper 2 and its baselines."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from scotd.answers import parse
from scotd.experiment.plan import Plan
from scotd.prompts import label_target_text, target_text
from scotd.types import Chain, Finish, Question, TrainingExample


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What one student is trained on: a stream of examples, anew at each call, and the counts behind it.

    `stored` is the selection's name in the corpus, "RUN/NAME", where chains were chosen.
    """

    stream: Callable[[], Iterator[TrainingExample]]
    selection: str
    kept: int
    questions: int
    dropped: dict[str, int]
    stored: str | None = None


def chain_examples(plan: Plan, student: str, chains: Iterable[Chain]) -> Iterator[TrainingExample]:
    """Rationale and answer of selected chains, rendered by the target template; a question's chains stand together."""
    for key, found in groupby(chains, key=lambda chain: chain.question_key):
        yield _example(plan, student, plan.questions[key], list(found))


def chain_target(plan: Plan, question: Question, chain: Chain) -> str:
    """What a student learns from a selected chain."""
    parsed = parse(chain.text, question, chain.finish)
    assert parsed.answer is not None, "a selection keeps chains with an answer only"
    return target_text(question, parsed.rationale, parsed.answer, plan.templates)


def label_examples(
    plan: Plan, student: str, questions: Sequence[Question], labels: Mapping[str, str], source: str
) -> Examples:
    """The answer alone. `labels` by question key; a question without one is counted as dropped."""
    labelled = [question for question in questions if question.key in labels]
    missing = len(questions) - len(labelled)

    def stream() -> Iterator[TrainingExample]:
        for question in labelled:
            yield TrainingExample(
                question_key=question.key,
                prompt=plan.prompt_for(student, question),
                targets=(label_target_text(question, labels[question.key], plan.templates),),
                finished=(True,),
                weights=(1.0,),
            )

    return Examples(
        stream=stream,
        selection=f"labels: {source}",
        kept=len(labelled),
        questions=len(labelled),
        dropped={f"no {source} label": missing} if missing else {},
    )


def _example(plan: Plan, student: str, question: Question, chains: Sequence[Chain]) -> TrainingExample:
    return TrainingExample(
        question_key=question.key,
        prompt=plan.prompt_for(student, question),
        targets=tuple(chain_target(plan, question, chain) for chain in chains),
        finished=tuple(chain.finish is not Finish.LENGTH for chain in chains),
        weights=(1.0,) * len(chains),
    )
