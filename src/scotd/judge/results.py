"""Votes -> numbers: who wins, how surely, and how far the votes can be trusted.

The unit is the item: a rater's votes on it are joined with those of the others, and the side with more of them wins it
(as many on each side: a tie). Ties leave the test and the win rate, and are counted beside them. The paper's binomial
test over single votes is given too; with several raters an item its votes are not independent, and the page says so.
Repeats count for self-agreement only. What a language model said stands apart and is in no number about people.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from scotd.judge.measures import detectable_surplus, exact_interval, krippendorff_alpha
from scotd.judge.store import Study
from scotd.judge.study import ModelVote, Pick, Sample, Settings, Side, Vote
from scotd.stats import Interval, mcnemar_exact


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Wins of a and b, and ties. `rate` is a's share of the decided, `p` exact and two-sided; None without any."""

    a: int
    b: int
    ties: int
    rate: float | None
    interval: Interval | None
    p: float | None
    needed: int | None  # the surplus of wins that the test would have called a difference

    @classmethod
    def of(cls, sides: Iterable[Side | None], confidence: float) -> "Tally":
        """Count sides; None is a tie."""
        counts = Counter(sides)
        a, b = counts["a"], counts["b"]
        decided = a + b
        return cls(
            a=a,
            b=b,
            ties=counts[None],
            rate=a / decided if decided else None,
            interval=exact_interval(a, decided, confidence) if decided else None,
            p=mcnemar_exact(a, b) if decided else None,
            needed=detectable_surplus(decided, confidence),
        )

    @property
    def n(self) -> int:
        return self.a + self.b + self.ties


@dataclass(frozen=True, kw_only=True)
class Group:
    """A sample, or one task of it: `items` of the study, by item and by single vote."""

    sample: Sample
    task: str | None
    items: int
    by_item: Tally
    by_vote: Tally


@dataclass(frozen=True, kw_only=True)
class RaterLine:
    """One rater, without a name. `first` of `decided` votes took the chain shown first; times are medians."""

    number: int
    done: int
    total: int
    first: int
    decided: int
    ties: int
    agreed: int
    repeated: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Order:
    """Whether the place on the page mattered: how often chain 1 was taken, of all decided votes."""

    first: int
    decided: int
    interval: Interval | None
    p: float | None


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """A language model as a judge. `inconsistent`: its choice changed with the order; `unusable`: an answer lacked.

    `agreed` of `compared` items: consistent and decided, and decided by people too.
    """

    judge: str
    items: int
    asked: int
    tally: Tally
    inconsistent: int
    unusable: int
    first: int
    decided: int
    agreed: int
    compared: int
    agreement: Interval | None
    alpha: float | None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything on the results page."""

    settings: Settings
    items: int
    judged: int
    votes: int
    groups: tuple[Group, ...]
    raters: tuple[RaterLine, ...]
    alpha: float | None
    several: int  # items with two votes or more: what alpha rests on
    order: Order
    agreed: int
    repeated: int
    seconds: tuple[float, float, float] | None  # quartiles
    timed: int
    rubric: tuple[tuple[str, Tally], ...]
    models: tuple[ModelLine, ...]


def results(study: Study) -> Results:
    """Every number of a study, as its votes stand now."""
    settings = study.settings
    confidence = settings.plan.confidence
    votes = study.votes()
    single = [vote for vote in votes if not vote.shown.repeat]
    by_item: dict[int, list[Vote]] = {}
    for vote in single:
        by_item.setdefault(vote.shown.item, []).append(vote)
    won = {item: majority([vote.side for vote in given]) for item, given in by_item.items()}
    first = sum(vote.pick is Pick.FIRST for vote in single)
    decided = sum(vote.pick is not Pick.TIE for vote in single)
    seconds = [vote.seconds for vote in single if vote.seconds is not None]
    pairs = _repeats(votes)
    return Results(
        settings=settings,
        items=len(study.items),
        judged=len(by_item),
        votes=len(single),
        groups=tuple(_groups(study, by_item, won, confidence)),
        raters=tuple(_raters(study, votes)),
        alpha=krippendorff_alpha([[vote.side for vote in given] for given in by_item.values()]),
        several=sum(len(given) > 1 for given in by_item.values()),
        order=Order(
            first=first,
            decided=decided,
            interval=exact_interval(first, decided, confidence) if decided else None,
            p=mcnemar_exact(first, decided - first) if decided else None,
        ),
        agreed=sum(one.side == other.side for one, other in pairs),
        repeated=len(pairs),
        seconds=_quartiles(seconds),
        timed=len(seconds),
        rubric=tuple(
            (question, Tally.of(_rubric_sides(by_item, number), confidence))
            for number, question in enumerate(settings.rubric)
        ),
        models=tuple(_models(study.model_votes(), won, len(study.items), confidence)),
    )


def majority(sides: Sequence[Side | None]) -> Side | None:
    """The side with more votes, None where both have as many."""
    lead = sum((side == "a") - (side == "b") for side in sides)
    return "a" if lead > 0 else "b" if lead < 0 else None


def _groups(
    study: Study, by_item: Mapping[int, list[Vote]], won: Mapping[int, Side | None], confidence: float
) -> Iterable[Group]:
    for sample in Sample:
        items = [item for item in study.items.values() if sample in item.samples]
        tasks = sorted({item.pair.question.task for item in items})
        for task in [None, *(tasks if len(tasks) > 1 else [])] if items else []:
            part = [item.number for item in items if task is None or item.pair.question.task == task]
            yield Group(
                sample=sample,
                task=task,
                items=len(part),
                by_item=Tally.of((won[number] for number in part if number in won), confidence),
                by_vote=Tally.of((vote.side for number in part for vote in by_item.get(number, ())), confidence),
            )


def _raters(study: Study, votes: Sequence[Vote]) -> Iterable[RaterLine]:
    for number, rater in enumerate(study.raters(), start=1):
        own = [vote for vote in votes if vote.rater == rater.id]
        single = [vote for vote in own if not vote.shown.repeat]
        pairs = _repeats(own)
        middle = _quartiles([vote.seconds for vote in single if vote.seconds is not None])
        yield RaterLine(
            number=number,
            done=len(own),
            total=len(study.list_of(rater)),
            first=sum(vote.pick is Pick.FIRST for vote in single),
            decided=sum(vote.pick is not Pick.TIE for vote in single),
            ties=sum(vote.pick is Pick.TIE for vote in single),
            agreed=sum(one.side == other.side for one, other in pairs),
            repeated=len(pairs),
            seconds=None if middle is None else middle[1],
        )


def _repeats(votes: Iterable[Vote]) -> list[tuple[Vote, Vote]]:
    """First vote and repeat of the same rater on the same item, where both were cast."""
    given: dict[tuple[int, int], dict[bool, Vote]] = {}
    for vote in votes:
        given.setdefault((vote.rater, vote.shown.item), {})[vote.shown.repeat] = vote
    return [(both[False], both[True]) for both in given.values() if len(both) == 2]


def _rubric_sides(by_item: Mapping[int, list[Vote]], number: int) -> Iterable[Side | None]:
    for given in by_item.values():
        picks = [(vote, vote.rubric[number]) for vote in given if number < len(vote.rubric)]
        sides = [vote.shown.side(pick) for vote, pick in picks if pick is not None]
        if sides:
            yield majority(sides)


def _models(
    votes: Iterable[ModelVote], won: Mapping[int, Side | None], items: int, confidence: float
) -> Iterable[ModelLine]:
    judges: dict[str, dict[int, dict[Side, ModelVote]]] = {}
    for vote in votes:
        judges.setdefault(vote.judge, {}).setdefault(vote.item, {})[vote.first] = vote
    for judge, given in judges.items():
        both = {item: orders for item, orders in given.items() if len(orders) == 2}
        unusable = {item for item, orders in both.items() if any(vote.pick is None for vote in orders.values())}
        sides = {item: (orders["a"].side, orders["b"].side) for item, orders in both.items() if item not in unusable}
        steady = {item: one for item, (one, other) in sides.items() if one == other}
        compared = [item for item, side in steady.items() if side is not None and won.get(item) is not None]
        agreed = sum(steady[item] == won[item] for item in compared)
        picks = [vote.pick for orders in given.values() for vote in orders.values()]
        yield ModelLine(
            judge=judge,
            items=items,
            asked=len(both),
            tally=Tally.of(steady.values(), confidence),
            inconsistent=len(sides) - len(steady),
            unusable=len(unusable),
            first=picks.count(Pick.FIRST),
            decided=picks.count(Pick.FIRST) + picks.count(Pick.SECOND),
            agreed=agreed,
            compared=len(compared),
            agreement=exact_interval(agreed, len(compared), confidence) if compared else None,
            alpha=krippendorff_alpha([[side, won[item]] for item, side in steady.items() if item in won]),
        )


def _quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return low, middle, high
