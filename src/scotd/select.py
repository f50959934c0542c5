"""Which chains a student is trained on (paper 2, "Filtering"), and for each other one the reason.

    chosen = select("correct", corpus.answered(questions, teacher=name), questions)
    corpus.save_selection(run, chosen)

Pure: a selection sees what chains answer and questions and decides, nothing else. kept + dropped = all, always.

- `correct` keeps a chain whose answer is the gold label (the paper's supervised setting).
- `all` keeps every chain that holds an answer (few-shot: no label outside the exemplars is used).
- `majority` keeps the chains that agree with the vote over the question's own chains; the vote is the question's
  pseudo-label. No gold label is looked at.

A text without an answer is no (y, z) to train on: every selection drops it as "unparsed: WHY".
"""

from collections.abc import Callable, Iterable, Mapping

from scotd.errors import ConfigError, did_you_mean
from scotd.types import Answered, Question, Selection
from scotd.vote import vote

NO_GOLD = "no gold label"
NOT_MAJORITY = "not the majority"
UNKNOWN_QUESTION = "not among the questions"
WRONG = "wrong"


def select(name: str, chains: Iterable[Answered], questions: Mapping[str, Question]) -> Selection:
    """Select among chains, in their order. `questions` is by key; a chain of any other question is dropped as such.

    Raises ConfigError for a name that is none of "correct", "all", "majority".
    """
    if name not in SELECTIONS:
        raise ConfigError(f"selection '{name}' is not known.{did_you_mean(name, SELECTIONS)}")
    given = list(chains)
    labels, reason_of = SELECTIONS[name]([one for one in given if one.question_key in questions], questions)
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for one in given:
        reason = _unusable(one, questions) or reason_of(one)
        if reason is None:
            kept.append(one.chain_id)
        else:
            dropped[one.chain_id] = reason
    assert len(set(kept)) + len(dropped) == len(given), "a chain was given twice"
    return Selection(name=name, kept=tuple(kept), dropped=dropped, labels=labels)


def _unusable(one: Answered, questions: Mapping[str, Question]) -> str | None:
    """Why no selection can use a chain."""
    if one.question_key not in questions:
        return UNKNOWN_QUESTION
    return None if one.reason is None else f"unparsed: {one.reason}"


_Rule = tuple[dict[str, str], Callable[[Answered], str | None]]  # pseudo-labels; why a parsed chain is dropped


def _correct(_: list[Answered], questions: Mapping[str, Question]) -> _Rule:
    def reason(one: Answered) -> str | None:
        gold = questions[one.question_key].gold
        if gold is None:
            return NO_GOLD
        return None if one.answer == gold else WRONG

    return {}, reason


def _all(_: list[Answered], questions: Mapping[str, Question]) -> _Rule:
    return {}, lambda one: None


def _majority(answered: list[Answered], questions: Mapping[str, Question]) -> _Rule:
    cast: dict[str, list[str]] = {}
    for one in answered:
        if one.answer is not None:
            cast.setdefault(one.question_key, []).append(one.answer)
    labels = {}
    for key, votes in cast.items():
        winner = vote(votes, key).answer
        assert winner is not None
        labels[key] = winner
    return labels, lambda one: None if one.answer == labels[one.question_key] else NOT_MAJORITY


SELECTIONS: Mapping[str, Callable[[list[Answered], Mapping[str, Question]], _Rule]] = {
    "correct": _correct,
    "all": _all,
    "majority": _majority,
}
