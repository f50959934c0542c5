"""What goes into a corpus and what it says about itself, besides the values of `scotd.types`."""

from dataclasses import dataclass

from scotd.types import SamplingParams, ServerCap


@dataclass(frozen=True, kw_only=True)
class Want:
    """A question that should have chains: with this prompt, by this teacher, drawn like this."""

    question_key: str
    prompt_id: str
    teacher: str
    sampling: SamplingParams


@dataclass(frozen=True, kw_only=True)
class RequestIntent:
    """One request to a teacher, as journaled before it is sent: which sample indices it asks for."""

    question_key: str
    prompt_id: str
    teacher: str
    sampling: SamplingParams
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionsAdded:
    """What became of questions: `changed` had another gold label, split or pair than the stored ones of their key."""

    new: int = 0
    same: int = 0
    changed: int = 0


@dataclass(frozen=True, kw_only=True)
class ChainsAdded:
    """What became of chains. `duplicate`: another text under an identity that was taken; the first one stays, the
    other is set aside in the table `duplicates`. new + same + duplicate = all that were given."""

    new: int = 0
    same: int = 0
    duplicate: int = 0

    def __add__(self, other: "ChainsAdded") -> "ChainsAdded":
        return ChainsAdded(
            new=self.new + other.new, same=self.same + other.same, duplicate=self.duplicate + other.duplicate
        )


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Lineage of one run: its configuration, versions, git state, seeds; whatever its writer recorded."""

    run: str
    lineage: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class QuestionCount:
    """Questions of one split; `labelled` of them have a gold label, `with_chains` have at least one chain."""

    task: str
    split: str
    questions: int
    labelled: int
    with_chains: int


@dataclass(frozen=True, kw_only=True)
class ChainCount:
    """Chains of one teacher under one set of sampling parameters. `tokens` sums over the `counted` chains that say."""

    teacher: str
    sampling: SamplingParams
    chains: int
    questions: int
    finish: dict[str, int]
    tokens: int
    counted: int


@dataclass(frozen=True, kw_only=True)
class RequestCount:
    """Requests by outcome, and the tokens that they were billed for, where the server said.

    `failures` are the failed ones by kind. `unaccounted` were journaled by an earlier writer that ended before it
    learnt their outcome: they may have cost. So may answers that were not counted: `lost` on the way, `unreadable`, or
    `unsaid`, which came without a count.
    """

    ok: int
    failed: int
    failures: dict[str, int]
    unaccounted: int
    unaccounted_chains: int
    lost: int
    unreadable: int
    unsaid: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, kw_only=True)
class KnownCap:
    """A server's cap as a corpus remembers it; `learned` in seconds since 1970."""

    cap: ServerCap
    learned: float


@dataclass(frozen=True, kw_only=True)
class CorpusStats:
    """Everything that `scotd corpus stats` shows."""

    questions: tuple[QuestionCount, ...]
    chains: tuple[ChainCount, ...]
    requests: RequestCount
    prompts: int
    duplicates: int
    scores: dict[str, int]
    selections: int
    predictions: int
    runs: int
