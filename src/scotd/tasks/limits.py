"""Limits on the number of questions of a split: nested, so that a small run is a part of the large one.

`limit: {test: 60}` keeps the 60 questions that come first in the order of a digest of their ids, and leaves them in the
order of the file. A question that is a minimal change of another (`pair`) is ordered by that other's id: a contrast
split limited like its test split keeps the same pairs.
"""

from collections.abc import Iterable, Mapping, Sequence

from scotd.config import Experiment
from scotd.errors import ConfigError, did_you_mean
from scotd.types import Question, digest


def limited(questions: Sequence[Question], limit: Mapping[str, int]) -> list[Question]:
    """Keep at most `limit[split]` questions of each split named. Raises ConfigError for a split that is not there."""
    require_splits(questions, limit, "questions.limit")
    keep: set[str] = set()
    for split, count in limit.items():
        ranked = sorted((question for question in questions if question.split == split), key=_rank)
        keep.update(question.key for question in ranked[:count])
    return [question for question in questions if question.split not in limit or question.key in keep]


def require_splits(questions: Iterable[Question], wanted: Iterable[str], setting: str) -> None:
    """Raise ConfigError where a split that `setting` names has no question."""
    known = {question.split for question in questions}
    for split in wanted:
        if split not in known:
            raise ConfigError(
                f"`{setting}` names the split '{split}', which has no question.{did_you_mean(split, known)}"
            )


def _rank(question: Question) -> tuple[str, str]:
    return digest(question.pair or question.id), digest(question.id)


def limited_everywhere(experiment: Experiment, count: int) -> Experiment:
    """The experiment with at most `count` questions in every split it uses (`--limit`); smaller limits stay."""
    settings = experiment.questions
    used = {settings.train, *experiment.evaluation.splits}
    # a default name of the dev split need not exist, so it is limited only where a limit named it
    used |= {split for split in settings.limit if split == settings.dev}
    limit = {split: min(count, settings.limit.get(split, count)) for split in used}
    questions = settings.model_copy(update={"limit": {**settings.limit, **limit}})
    sources = tuple(
        source.model_copy(
            update={"limit": {**source.limit, source.train: min(count, source.limit.get(source.train, count))}}
        )
        for source in experiment.train_on
    )
    return experiment.model_copy(update={"questions": questions, "train_on": sources})
