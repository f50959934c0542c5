"""The clauses that `feedback` is made of, read from `fragments/*.toml`.

One file is one domain. Under an aspect stand its praise and its complaints, by pool; a clause is written
"manner: text" and has to

- speak of its own aspect only, so that no other aspect of its domain can be thought answered by it;
- show its opinion to a reader who knows nothing else, also where it is ironic (by absurdity, never by tone alone);
- be a main clause in lower case, without final stop, that needs no other clause to say what it speaks of.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "fragments"
SEEN_DOMAINS = ("restaurant", "hotel", "phone", "jacket", "tour", "train")
UNSEEN_DOMAINS = ("gym", "coffee", "campsite")


class Polarity(StrEnum):
    """The opinion in a clause."""

    PRAISE = "praise"
    COMPLAINT = "complaint"

    @property
    def opposite(self) -> "Polarity":
        return Polarity.COMPLAINT if self is Polarity.PRAISE else Polarity.PRAISE


class Manner(StrEnum):
    """How the opinion is put."""

    PLAIN = "plain"  # a word of judgement: "the bed was soft and cosy"
    IMPLIED = "implied"  # a fact that tells: "I could feel every spring of the mattress in my ribs"
    NEGATED = "negated"  # the judgement hangs on a negation: "nobody could call the bed comfortable"
    IRONIC = "ironic"  # said in mockery or exaggeration: "the eggs were old enough to vote"


class Pool(StrEnum):
    """Which splits a clause may be used in. No clause is in two pools."""

    TRAIN = "train"
    DEV = "dev"
    PILOT = "pilot"
    EVALUATED = "evaluated"  # test and contrast
    UNSEEN = "unseen"


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """One clause, with everything that is known about it."""

    domain: str
    aspect: str
    polarity: Polarity
    manner: Manner
    pool: Pool
    text: str


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A kind of thing that people write remarks about.

    `who` writes ("guest") about `thing` ("a restaurant"); `aspects` gives by key what is asked ("the noise level").
    """

    name: str
    who: str
    thing: str
    aspects: Mapping[str, str]
    fragments: tuple[Fragment, ...]


def read_domain(name: str) -> Domain:
    """Read one of `SEEN_DOMAINS` or `UNSEEN_DOMAINS`."""
    data = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    aspects: dict[str, Any] = data["aspects"]
    return Domain(
        name=name,
        who=data["who"],
        thing=data["thing"],
        aspects={key: aspect["asked"] for key, aspect in aspects.items()},
        fragments=tuple(
            _fragment(line, domain=name, aspect=key, polarity=polarity, pool=Pool(pool))
            for key, aspect in aspects.items()
            for polarity in Polarity
            for pool, lines in aspect[polarity].items()
            for line in lines
        ),
    )


def _fragment(line: str, *, domain: str, aspect: str, polarity: Polarity, pool: Pool) -> Fragment:
    manner, _, text = line.partition(": ")
    return Fragment(domain=domain, aspect=aspect, polarity=polarity, manner=Manner(manner), pool=pool, text=text)
