"""Values that cross stages: frozen, keyword-only, no behaviour beyond their own identity.

    task files -> Question -> Prompt -> Teacher -> Chain -> Selection -> Student -> Prediction -> Report

Identities are SHA-256 over canonical JSON, cut to 32 hex digits, so that the same request has the same name in every
process, on every machine, for ever. Nothing that enters an identity may be None by accident: the constructors refuse.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Literal, cast

ChatRole = Literal["system", "user", "assistant"]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Return 32 hex digits that name a JSON-able value (keys sorted, no spaces, UTF-8)."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One possible answer. Where the label is the text itself ("positive"), the question has a fixed label set."""

    label: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of a task.

    `id` is unique within the task and durable: it is not a row number where the source has an id. `gold` is the label
    of one of the choices, or None for an unlabelled question. `pair` is the id of the question that this one is a
    minimal change of (contrast sets, paper 3.4). `cut_words` were taken off the end of the stem
    (`questions.max_stem_words`); a corpus keeps the stem and not this number.
    """

    id: str
    task: str
    split: str
    stem: str
    choices: tuple[Choice, ...]
    gold: str | None
    pair: str | None = None
    cut_words: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        labels = [choice.label for choice in self.choices]
        assert self.id and self.task and self.split and self.stem.strip(), self
        assert len(labels) >= 2 and len(set(labels)) == len(labels) and all(labels), self
        assert self.gold is None or self.gold in labels, self

    @property
    def key(self) -> str:
        """Name of the question in a corpus: unique over tasks."""
        return f"{self.task}/{self.id}"

    @property
    def has_label_set(self) -> bool:
        """True where the answer is a word ("yes"), False where it is a letter in front of a text ("(b) library")."""
        return all(choice.label == choice.text for choice in self.choices)

    def choice(self, label: str) -> Choice:
        """Return the choice with this label; the label must be one of the question's own."""
        return next(choice for choice in self.choices if choice.label == label)


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A demonstration (x, y, z) of the prompt set P (paper 2): a question with its gold label and a rationale."""

    question: Question
    rationale: str

    def __post_init__(self) -> None:
        assert self.question.gold is not None and self.rationale.strip(), self


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a chat prompt."""

    role: ChatRole
    content: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a teacher or student is given: a text to continue, or the messages of a chat. Exactly one of the two."""

    text: str | None = None
    messages: tuple[Message, ...] | None = None

    def __post_init__(self) -> None:
        assert (self.text is None) != (self.messages is None), self

    @property
    def id(self) -> str:
        return digest(self.to_json())

    @property
    def words(self) -> str:
        """All that it says, whoever says it."""
        return "".join(message.content for message in self.messages or ()) if self.text is None else self.text

    def to_json(self) -> object:
        return self.text if self.messages is None else [asdict(message) for message in self.messages]

    @classmethod
    def from_json(cls, value: object) -> "Prompt":
        if isinstance(value, str):
            return cls(text=value)
        return cls(messages=tuple(Message(**message) for message in cast(list[dict[str, str]], value)))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How chains are drawn. Neither N nor the seed is part of it: 10 chains topped up to 30 are the same chains.

    `temperature` 0 is greedy decoding. `max_tokens` counts new tokens. `stop` strings end a chain and are not part of
    its text.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 128
    stop: tuple[str, ...] = ()
    min_p: float = 0.0

    def to_json(self) -> dict[str, object]:
        newer = (
            {"min_p": float(self.min_p)} if self.min_p else {}
        )  # chains that were drawn before it keep their identity
        return {  # spelt out: every chain's identity passes here, and `asdict` copies deeply
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "top_k": self.top_k,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop),
            **newer,
        }

    @property
    def plain(self) -> bool:
        """True where tokens are drawn from the model's own distribution, neither heated nor cut."""
        return self.temperature == 1 and self.top_p == 1 and self.top_k == 0 and self.min_p == 0

    @classmethod
    def from_json(cls, value: dict[str, object]) -> "SamplingParams":
        fields = {**value, "stop": tuple(cast(list[str], value["stop"]))}
        return cls(**fields)  # type: ignore[arg-type]

    @property
    def id(self) -> str:
        return digest(self.to_json())


class Finish(StrEnum):
    """Why a chain ended."""

    STOP = "stop"  # an end token or a stop string
    LENGTH = "length"  # max_tokens reached: the chain is cut off
    FILTERED = "content_filter"
    UNKNOWN = "unknown"  # imported chains rarely say


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What came back for one sample index, before it has an identity.

    `mean_logprob` is in nats per token over the kept tokens, at temperature 1 and over the full vocabulary, as the
    model that wrote the text gave it; None where it is not known in exactly that sense. `n_tokens` counts the new
    tokens including the end token.
    """

    text: str
    finish: Finish
    n_tokens: int | None = None
    mean_logprob: float | None = None


@dataclass(frozen=True, kw_only=True)
class Chain:
    """One sampled rationale plus answer, as raw text. Rationale and answer are derived, see `answers.parse`.

    `teacher` names the model that wrote it ("local:qwen2.5-coder-1.5b-instruct", "openai:gpt-4o-mini", "import:...").
    """

    question_key: str
    prompt_id: str
    teacher: str
    sampling: SamplingParams
    index: int
    text: str
    finish: Finish
    n_tokens: int | None = None
    mean_logprob: float | None = None

    def __post_init__(self) -> None:
        assert self.question_key and self.prompt_id and self.teacher and self.index >= 0, self

    @property
    def id(self) -> str:
        return chain_id(self.question_key, self.prompt_id, self.teacher, self.sampling, self.index)


def chain_id(question_key: str, prompt_id: str, teacher: str, sampling: SamplingParams, index: int) -> str:
    """Identity of a chain, known before it is sampled: the store can say which ones are missing."""
    return digest([question_key, prompt_id, teacher, sampling.to_json(), index])


class NoAnswer(StrEnum):
    """Why a text gave no answer."""

    EMPTY = "empty"  # nothing but white space
    CUT_OFF = "cut off"  # ended by the token limit before an answer was given
    MISSING = "no answer given"  # ran to its end without one
    UNKNOWN_CHOICE = "not one of the choices"
    SEVERAL = "several answers"  # two different choices, neither withdrawn


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A text taken apart: the rationale, and the label of the answer or the reason why there is none."""

    rationale: str
    answer: str | None
    reason: NoAnswer | None

    def __post_init__(self) -> None:
        assert (self.answer is None) != (self.reason is None), self


class Mark(StrEnum):
    """How an answer compares with the gold label."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    OPEN = "no gold label"

    @classmethod
    def of(cls, answer: str | None, gold: str | None) -> "Mark":
        """Compare an answer with the gold label. One that could not be parsed is never right."""
        if answer is None:
            return cls.UNPARSED
        if gold is None:
            return cls.OPEN
        return cls.RIGHT if answer == gold else cls.WRONG


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A chain as selections see it: its identity, its answer or the reason why it has none, and no text."""

    chain_id: str
    question_key: str
    index: int
    finish: Finish
    answer: str | None
    reason: NoAnswer | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What a selection makes of one chain: it is kept (`dropped` is None), or dropped for a reason."""

    chain_id: str
    question_key: str
    dropped: str | None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How many chains a selection kept, of how many questions, and how many it dropped for which reason.

    Which ones they are stands in the corpus, a `Fate` a chain. kept + dropped = all.
    """

    kept: int
    questions: int
    dropped: dict[str, int]


class Need(StrEnum):
    """What must be computed for the candidates before a filter can look at them."""

    VECTOR = "vector"  # of the rationale, by a sentence-embedding model
    PERPLEXITY = "perplexity"  # of the target under a student that is not trained yet: its logarithm, nats a token
    GAIN = "gain"  # by how many nats the rationale lowers that student's loss on the answer


class Target(StrEnum):
    """What a student is trained to write (paper 2, "Baselines")."""

    SCOTD = "scotd"  # rationale then answer, all selected chains of a question
    GREEDY_COT = "greedy-cot"  # the same with the teacher's one temperature-0 chain
    LABEL_ONLY = "label-only"  # the answer alone
    UNDISTILLED = "undistilled"  # not trained; prompted with the exemplars
    TEACHER = "teacher"  # the teacher itself, prompted with the exemplars

    @property
    def trained(self) -> bool:
        """Whether something is learnt: the others answer with a few-shot prompt."""
        return self not in (Target.UNDISTILLED, Target.TEACHER)


@dataclass(frozen=True, kw_only=True)
class TrainingExample:
    """A student prompt with its target texts: the row before tokens. One weight a target."""

    question_key: str
    prompt: Prompt
    targets: tuple[str, ...]
    finished: tuple[bool, ...]  # False: the teacher was cut off, no end token is taught
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a student answers: `votes` 1 at temperature 0 is greedy, otherwise self-consistency over `votes` chains."""

    sampling: SamplingParams
    votes: int = 1

    @property
    def name(self) -> str:
        return "greedy" if self.sampling.temperature == 0 else f"self-consistency-{self.votes}"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A student's answer to one question. `answer` is None where no chain could be parsed: counts as wrong.

    `tally` counts parsed answers by label; unparsed chains do not vote.
    """

    question_key: str
    decoding: Decoding
    chains: tuple[Completion, ...]
    answer: str | None
    reason: NoAnswer | None
    tally: dict[str, int]
    tied: bool = False


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens that an ask was billed for, as far as the server said; None where it said nothing.

    `unsaid` counts the answers whose tokens are not in it: `lost` of them broke off or never came, `unreadable` of them
    came and could not be read, the others did not say.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    unsaid: int = 0
    lost: int = 0
    unreadable: int = 0

    def __post_init__(self) -> None:
        assert self.lost + self.unreadable <= self.unsaid, self


@dataclass(frozen=True, kw_only=True)
class ServerCap:
    """What a server was found to give at most: `max_n` chains a request. `server` is its address without secrets."""

    server: str
    model: str
    max_n: int
