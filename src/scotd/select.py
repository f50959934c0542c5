"""Which chains a student is trained on (paper 2, "Filtering"), and for each other one the reason.

    chosen = select("correct", corpus.chains(teacher=name), questions)
    corpus.save_selection(run, chosen)

Pure: a selection reads chains and questions and decides, nothing else. kept + dropped = all, always.

- `correct` keeps a chain whose answer is the gold label (the paper's supervised setting).
- `all` keeps every chain that holds an answer (few-shot: no label outside the exemplars is used).
- `majority` keeps the chains that agree with the vote over the question's own chains; the vote is the question's
  pseudo-label. No gold label is looked at.

A text without an answer is no (y, z) to train on: every selection drops it as "unparsed: WHY".
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from scotd import answers
from scotd.errors import ConfigError, did_you_mean
from scotd.types import Chain, Finish, Parsed, Question, Selection
from scotd.vote import vote

Parse = Callable[[str, Question, Finish], Parsed]

NO_GOLD = "no gold label"
NOT_MAJORITY = "not the majority"
UNKNOWN_QUESTION = "not among the questions"
WRONG = "wrong"


def select(
    name: str, chains: Iterable[Chain], questions: Mapping[str, Question], parse: Parse = answers.parse
) -> Selection:
    """Select among chains, in their order. `questions` is by key; a chain of any other question is dropped as such.

    Raises ConfigError for a name that is none of "correct", "all", "majority".
    """
    if name not in SELECTIONS:
        raise ConfigError(f"selection '{name}' is not known.{did_you_mean(name, SELECTIONS)}")
    answered = [_answered(chain, questions, parse) for chain in chains]
    labels, reason_of = SELECTIONS[name](answered, questions)
    kept: list[str] = []
    dropped: dict[str, str] = {}
    for one in answered:
        reason = one.reason or reason_of(one)
        if reason is None:
            kept.append(one.chain_id)
        else:
            dropped[one.chain_id] = reason
    assert len(set(kept)) + len(dropped) == len(answered), "a chain was given twice"
    return Selection(name=name, kept=tuple(kept), dropped=dropped, labels=labels)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A chain's identity with its answer, or the reason why no selection can use it."""

    chain_id: str
    question_key: str
    answer: str | None
    reason: str | None


def _answered(chain: Chain, questions: Mapping[str, Question], parse: Parse) -> _Answered:
    question = questions.get(chain.question_key)
    if question is None:
        return _Answered(chain.id, chain.question_key, None, UNKNOWN_QUESTION)
    parsed = parse(chain.text, question, chain.finish)
    reason = None if parsed.reason is None else f"unparsed: {parsed.reason}"
    return _Answered(chain.id, chain.question_key, parsed.answer, reason)


_Rule = tuple[dict[str, str], Callable[[_Answered], str | None]]  # pseudo-labels; why a parsed chain is dropped


def _correct(_: list[_Answered], questions: Mapping[str, Question]) -> _Rule:
    def reason(one: _Answered) -> str | None:
        gold = questions[one.question_key].gold
        if gold is None:
            return NO_GOLD
        return None if one.answer == gold else WRONG

    return {}, reason


def _all(_: list[_Answered], questions: Mapping[str, Question]) -> _Rule:
    return {}, lambda one: None


def _majority(answered: list[_Answered], questions: Mapping[str, Question]) -> _Rule:
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


SELECTIONS: Mapping[str, Callable[[list[_Answered], Mapping[str, Question]], _Rule]] = {
    "correct": _correct,
    "all": _all,
    "majority": _majority,
}
