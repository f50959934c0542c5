"""Which chains a student is trained on (paper 2, "Filtering"), and for each other one the reason.

    fates = select("correct", corpus.answered(questions, teacher=name), questions)
    corpus.save_selection(run, "correct", fates)

Pure, and one question at a time: memory does not grow with the corpus. Every chain has one fate, in the chains' order.

- `correct` keeps a chain whose answer is the gold label (the paper's supervised setting).
- `all` keeps every chain that holds an answer (few-shot: no label outside the exemplars is used).
- `majority` keeps the chains that agree with the vote over the question's own chains; no gold label is looked at.

A text without an answer is no (y, z) to train on: every selection drops it as "unparsed: WHY".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from scotd.errors import ConfigError, did_you_mean
from scotd.types import Answered, Fate, Question
from scotd.vote import vote

NO_GOLD = "no gold label"
NOT_MAJORITY = "not the majority"
UNKNOWN_QUESTION = "not among the questions"
WRONG = "wrong"

# Whether a chain that holds an answer is kept, given its question and all of the question's chains: None, or why not.
Rule = Callable[[Question, Sequence[Answered]], Callable[[Answered], str | None]]


def select(name: str, chains: Iterable[Answered], questions: Mapping[str, Question]) -> Iterator[Fate]:
    """The fate of each chain, in their order. The chains of a question must stand together.

    `questions` is by key; a chain of any other question is dropped as such. Raises ConfigError for a name that is none
    of "correct", "all", "majority".
    """
    if name not in SELECTIONS:
        raise ConfigError(f"selection '{name}' is not known.{did_you_mean(name, SELECTIONS)}")
    return _fates(SELECTIONS[name], chains, questions)


def majority_labels(chains: Iterable[Answered]) -> dict[str, str]:
    """By question key the vote over its chains, which must stand together; a question without an answer has none."""
    votes = {key: _voted(pool) for key, pool in _by_question(chains)}
    return {key: answer for key, answer in votes.items() if answer is not None}


def _fates(rule: Rule, chains: Iterable[Answered], questions: Mapping[str, Question]) -> Iterator[Fate]:
    for key, pool in _by_question(chains):
        question = questions.get(key)
        reason_of = None if question is None else rule(question, pool)
        assert len({one.chain_id for one in pool}) == len(pool), f"a chain of {key} was given twice"
        for one in pool:
            if reason_of is None:
                dropped: str | None = UNKNOWN_QUESTION
            else:
                dropped = reason_of(one) if one.reason is None else f"unparsed: {one.reason}"
            yield Fate(chain_id=one.chain_id, question_key=key, dropped=dropped)


def _by_question(chains: Iterable[Answered]) -> Iterator[tuple[str, list[Answered]]]:
    seen: set[str] = set()
    for key, pool in groupby(chains, key=lambda one: one.question_key):
        assert key not in seen, f"the chains of {key} do not stand together"
        seen.add(key)
        yield key, list(pool)


def _voted(pool: Sequence[Answered]) -> str | None:
    return vote((one.answer for one in pool), pool[0].question_key).answer


def _correct(question: Question, _: Sequence[Answered]) -> Callable[[Answered], str | None]:
    if question.gold is None:
        return lambda one: NO_GOLD
    return lambda one: None if one.answer == question.gold else WRONG


def _all(question: Question, _: Sequence[Answered]) -> Callable[[Answered], str | None]:
    return lambda one: None


def _majority(_: Question, pool: Sequence[Answered]) -> Callable[[Answered], str | None]:
    label = _voted(pool)
    return lambda one: None if one.answer == label else NOT_MAJORITY


SELECTIONS: Mapping[str, Rule] = {"correct": _correct, "all": _all, "majority": _majority}
