"""The splits of `feedback`, composed from the clauses by a seeded generator: the same questions in every process.

Every label gets the same shares of every shape of remark, so that neither length nor the mixture of opinions tells
the answer. An id ends in six digits of the question's content: a question that was changed never keeps its old name.
"""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import cycle
from random import Random

from scotd.tasks.feedback.compose import CODAS, FRAMES, JOINTS, JOINTS_BEFORE_CODA, Item, Label, Remark
from scotd.tasks.feedback.fragments import SEEN_DOMAINS, UNSEEN_DOMAINS, Domain, Fragment, Polarity, Pool, read_domain
from scotd.types import Choice, Question, digest

TASK = "feedback"
SEED = 2306_14050
CHOICES = tuple(Choice(label=label.value, text=label.value) for label in Label)
SPLITS = {  # pool of clauses, number of questions
    "train": (Pool.TRAIN, 1200),
    "dev": (Pool.DEV, 120),
    "pilot": (Pool.PILOT, 120),
    "test": (Pool.EVALUATED, 300),
    "unseen": (Pool.UNSEEN, 300),
}


class Shape(Enum):
    """Opinions in a remark: True for the opinion asked about, which comes first, False for its opposite."""

    OPPOSED = (True, False)
    ALIKE = (True, True)
    SINGLE = (True,)
    THREE_MOSTLY_OPPOSED = (True, False, False)
    THREE_EVEN = (True, False, True)


# Of a hundred remarks. The last two keep "what most of the remark says" from telling the answer.
SHARES = {
    Shape.OPPOSED: 54,
    Shape.ALIKE: 16,
    Shape.SINGLE: 14,
    Shape.THREE_MOSTLY_OPPOSED: 8,
    Shape.THREE_EVEN: 8,
}


def load() -> list[Question]:
    """Return all splits: train, dev, pilot, test, contrast, unseen (pairs of contrast name questions of test)."""
    seen = [read_domain(name) for name in SEEN_DOMAINS]
    unseen = [read_domain(name) for name in UNSEEN_DOMAINS]
    questions: list[Question] = []
    for split, (pool, count) in SPLITS.items():
        rng = Random(f"{SEED}/{split}")
        items = _split(unseen if pool is Pool.UNSEEN else seen, pool, count, rng)
        named = [_question(item, split, number) for number, item in enumerate(items, start=1)]
        questions += named
        if split == "test":
            changed = _contrast(items, Random(f"{SEED}/contrast"))
            questions += [
                _question(item, "contrast", number, pair=test.id)
                for number, (test, item) in enumerate(zip(named, changed, strict=True), start=1)
            ]
    return questions


def _question(item: Item, split: str, number: int, pair: str | None = None) -> Question:
    stem = item.stem()
    name = f"{split}-{number:04d}-{digest([stem, item.gold])[:6]}"
    return Question(id=name, task=TASK, split=split, stem=stem, choices=CHOICES, gold=item.gold.value, pair=pair)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a remark is to be: `opinion` is the one asked about, or where nothing is said the one that leads."""

    label: Label
    opinion: Polarity
    shape: Shape


class _Deck:
    """Deals the clauses of a pool so that within an aspect and opinion each comes up equally often."""

    def __init__(self, domains: Iterable[Domain], pool: Pool, rng: Random) -> None:
        self.rng = rng
        self._piles: dict[tuple[str, str, Polarity], list[Fragment]] = {}
        for fragment in (fragment for domain in domains for fragment in domain.fragments if fragment.pool is pool):
            self._piles.setdefault((fragment.domain, fragment.aspect, fragment.polarity), []).append(fragment)
        for pile in self._piles.values():
            rng.shuffle(pile)

    def deal(self, domain: str, aspect: str, polarity: Polarity) -> Fragment:
        pile = self._piles[domain, aspect, polarity]
        pile.append(pile.pop(0))
        return pile[-1]

    def others(self, fragment: Fragment, polarity: Polarity) -> Sequence[Fragment]:
        """Return the clauses about the same aspect with this opinion."""
        return tuple(self._piles[fragment.domain, fragment.aspect, polarity])


def _split(domains: Sequence[Domain], pool: Pool, count: int, rng: Random) -> list[Item]:
    deck = _Deck(domains, pool, rng)
    cells = [(domain, aspect) for domain in domains for aspect in domain.aspects]
    plan = [plan for label in Label for plan in _plans(label, count // len(Label), rng)]
    rng.shuffle(plan)
    asked = {label: rng.sample(cells, len(cells)) for label in Label}
    items: dict[frozenset[str], Item] = {}
    for form in plan:
        # Cells are asked about in turn; one that has no new remark to give is passed over.
        for position, (domain, aspect) in enumerate(asked[form.label]):
            item = _fresh(deck, domain, aspect, form, items)
            if item is not None:
                items[_content(item)] = item
                asked[form.label].append(asked[form.label].pop(position))
                break
        else:
            raise AssertionError(f"too few clauses in {pool} for another remark of shape {form.shape.name}")
    return list(items.values())


def _plans(label: Label, count: int, rng: Random) -> list[_Plan]:
    shapes = [shape for shape, share in SHARES.items() for _ in range(share)]
    chosen = [shapes[index * len(shapes) // count] for index in range(count)]
    rng.shuffle(chosen)
    if label is Label.NOT_SAID:  # the opinions are about something else: as many praises as complaints
        opinions = tuple(Polarity)
    else:
        opinions = (Polarity.PRAISE if label is Label.PLEASED else Polarity.COMPLAINT,)
    return [
        _Plan(label=label, opinion=opinion, shape=shape)
        for opinion, shape in zip(cycle(opinions), chosen, strict=False)
    ]


def _fresh(deck: _Deck, domain: Domain, asked: str, plan: _Plan, known: Container[frozenset[str]]) -> Item | None:
    """Draw an item whose remark is new in its split, whatever the order of its clauses, and short enough."""
    rng = deck.rng
    others = [aspect for aspect in domain.aspects if aspect != asked]
    for _ in range(20):
        aspects = rng.sample(others, len(plan.shape.value))
        if plan.label is not Label.NOT_SAID:
            aspects[0] = asked
        parts = [
            deck.deal(domain.name, aspect, plan.opinion if same else plan.opinion.opposite)
            for aspect, same in zip(aspects, plan.shape.value, strict=True)
        ]
        rng.shuffle(parts)
        remark = Remark(
            domain=domain,
            parts=tuple(parts),
            joint=rng.randrange(len(JOINTS) if len(parts) < 3 else JOINTS_BEFORE_CODA),
            coda=rng.randrange(len(CODAS)),
            frame=rng.randrange(len(FRAMES)),
        )
        item = Item(remark=remark, asked=asked)
        if _content(item) not in known and item.is_short:
            return item
    return None


def _content(item: Item) -> frozenset[str]:
    return frozenset(part.text for part in item.remark.parts)


def _contrast(tests: Sequence[Item], rng: Random) -> list[Item]:
    """Change each test item minimally so that its answer changes, and each label stays as frequent as it was.

    pleased <-> not pleased: the opinion is turned. To or from "not said": another aspect of the same remark is asked.
    """
    deck = _Deck({item.remark.domain.name: item.remark.domain for item in tests}.values(), Pool.EVALUATED, rng)
    known = {item.stem() for item in tests}
    changed: dict[int, Item] = {}
    for label in reversed(Label):  # "not said" first: a remark of one clause can be asked about in one other way only
        ways = {index: _neighbours(item, deck) for index, item in enumerate(tests) if item.gold is label}
        order = rng.sample(list(ways), len(ways))
        # Where only one other answer can be reached there is no choice; both answers get remarks of every length.
        order.sort(key=lambda index: (len({new.gold for new in ways[index]}), len(tests[index].remark.parts)))
        counts = Counter({other: 0 for other in Label if other is not label})
        for index in order:
            new_ways = [new for new in ways[index] if new.stem() not in known]
            target = min({new.gold for new in new_ways}, key=lambda other: (counts[other], other))
            counts[target] += 1
            changed[index] = rng.choice([new for new in new_ways if new.gold is target])
            known.add(changed[index].stem())
    return [changed[index] for index in range(len(tests))]


def _neighbours(item: Item, deck: _Deck) -> list[Item]:
    """Return the minimal changes of an item: its opinion turned, or (to or from "not said") another aspect asked."""
    remark = item.remark
    part = remark.aspects.get(item.asked)
    turned: list[Item] = []
    if part is not None:
        for fragment in deck.others(part, part.polarity.opposite):
            parts = tuple(fragment if old is part else old for old in remark.parts)
            turned.append(replace(item, remark=replace(remark, parts=parts)))
    asked = [
        replace(item, asked=aspect)
        for aspect in remark.domain.aspects
        if (aspect in remark.aspects) is not (item.asked in remark.aspects)
    ]
    return turned + asked
