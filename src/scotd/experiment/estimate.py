"""What a run is going to ask for, train and answer, and what asking costs: `--dry-run` of `run` and `sample`.

Nothing is sent and no weights are loaded. Whatever is not known is said to be: token counts are estimates where the
teacher's tokenizer is not here, prices are unknown where nobody lists them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from scotd.config import TeacherConfig
from scotd.corpus import ChainCount, Corpus, import_parquet
from scotd.errors import ScotdError
from scotd.experiment.plan import Plan
from scotd.progress import duration
from scotd.teachers import teacher_name
from scotd.teachers.pace import least_seconds
from scotd.teachers.prices import CHARACTERS_A_TOKEN, Price, price_of
from scotd.teachers.sampling import Want, lacking
from scotd.types import Prompt, ServerCap, Target

ENOUGH_CHAINS = 30  # before their mean length says anything


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an account may ask a server for in a minute; None where it is not limited."""

    requests: int | None
    tokens: int | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run of `scotd sample` would do.

    `prompt_tokens` are those that are billed: once a request. `counted` tells exact counts from estimates.
    `mean_tokens` is the mean length of this teacher's chains in the corpus, None before there are enough. `learned`:
    `max_n` is not the file's, the servers taught it in an earlier sitting. `limits` hold at each of `servers`.
    """

    teacher: str
    wanted: int
    missing: int
    questions: int
    requests: int
    max_n: int | None
    learned: bool
    prompt_tokens: int
    counted: bool
    most_tokens: int
    mean_tokens: float | None
    price: Price | None
    servers: int
    limits: Limits

    def cost(self, completion_tokens: float) -> Decimal | None:
        """US dollars with so many completion tokens; None where the price is unknown."""
        if self.price is None:
            return None
        return self.price.of(prompt_tokens=self.prompt_tokens, completion_tokens=round(completion_tokens))

    @property
    def least_seconds(self) -> float | None:
        """Seconds that the limits a minute let pass at least, with all servers busy; None where there are none.

        Chains count with their mean length so far, and not at all before there is one.
        """
        tokens = self.prompt_tokens + (self.mean_tokens or 0) * self.missing
        each = ((self.requests, self.limits.requests), (tokens, self.limits.tokens))
        return max((least_seconds(amount / self.servers, most) for amount, most in each if most), default=None)

    def lines(self) -> Iterator[str]:
        """The estimate in words."""
        yield f"teacher     {self.teacher}"
        yield f"chains      {self.missing:,} of {self.wanted:,} are missing, for {self.questions:,} questions"
        if not self.missing:
            return
        cap = "all chains of a question in one" if self.max_n is None else f"at most {self.max_n} chains each"
        cap += ", as the server gave before" if self.learned else ""
        yield f"requests    {self.requests:,} ({cap}; a server that gives fewer gets more requests)"
        how = "counted" if self.counted else f"estimated at {CHARACTERS_A_TOKEN} characters a token"
        yield f"prompts     {self.prompt_tokens:,} tokens ({how}, billed once a request)"
        most = f"at most {self.most_tokens:,} tokens (sampling.max_tokens)"
        expected = None if self.mean_tokens is None else self.mean_tokens * self.missing
        known = "" if expected is None else f"about {expected:,.0f} tokens ({self.mean_tokens:.0f} a chain so far), "
        yield f"chains cost {known}{most}"
        yield f"price       {self._money(expected)}"
        if self.least_seconds is not None:
            yield f"duration    {self._time(self.least_seconds)}"

    def _time(self, seconds: float) -> str:
        named = {"requests_per_minute": self.limits.requests, "tokens_per_minute": self.limits.tokens}
        limits = " and ".join(f"{name} {most:,}" for name, most in named.items() if most)
        servers = f" at each of {self.servers} servers" if self.servers > 1 else ""
        without = self.limits.tokens and self.mean_tokens is None
        uncounted = "; the tokens of the chains are not known yet and left out" if without else ""
        return f"at least {duration(seconds)} (lower bound: {limits}{servers}{uncounted})"

    def _money(self, expected: float | None) -> str:
        most = self.cost(self.most_tokens)
        if most is None or self.price is None:
            return "unknown: set teacher.prices, or pip install 'scotd[prices]' for a list of public ones"
        if not most:
            return f"nothing ({self.price.source})"
        likely = "" if expected is None else f"about ${self.cost(expected):,.2f}, "
        prompt, completion = f"${self.price.prompt.normalize():f}", f"${self.price.completion.normalize():f}"
        return (
            f"{likely}at most ${most:,.2f} ({prompt} and {completion} a million tokens of prompts and chains, from "
            f"{self.price.source})"
        )


def describe(plan: Plan) -> list[str]:
    """What a run would ask for, train and answer, in lines. Raises ScotdError where corpus or chains cannot be read."""
    experiment = plan.experiment
    tasks = list(dict.fromkeys(question.task for question in plan.train))
    shown = " + ".join(str(len(plan.exemplars[task])) for task in tasks)
    lines = [
        f"{len(plan.train)} training questions of {', '.join(repr(task) for task in tasks)}"
        + (f" ({plan.exemplars_left_out} exemplars left out)" if plan.exemplars_left_out else ""),
        f"teacher {teacher_name(experiment.teacher)}, {shown} exemplars, {_chains(plan)}",
    ]
    for name, student in experiment.students.items():
        targets = Counter(split for split in plan.evaluated for _ in plan.decodings(name, split))
        answers = ", ".join(f"{split} x {count}" for split, count in targets.items())
        model = "" if student.target is Target.TEACHER else f" from {student.model or experiment.student}"
        lines.append(f"student {name}: {student.target}{model}; answers {answers}")
    lines += [f"{split}: {len(questions)} questions" for split, questions in plan.evaluated.items()]
    lines += [f"corpus {plan.corpus_path}", f"results {plan.folder}", *plan.notes]
    return lines


def _chains(plan: Plan) -> str:
    config = plan.experiment.teacher
    if config.kind == "imported":
        return "whose chains are imported" + (f" from {plan.shipped}" if plan.shipped else "")
    wants = plan.wants()
    absent = _absent(plan, teacher_name(config), wants)
    wanted, missing = sum(want.n for want in wants), sum(count for _, count in absent)
    return f"{missing:,} of {wanted:,} chains are missing"


def estimate(plan: Plan) -> Estimate:
    """Look at what the corpus lacks. Raises ScotdError where corpus or questions cannot be read."""
    config = plan.experiment.teacher
    name = teacher_name(config)
    wants = plan.wants() if config.kind != "imported" else []
    caps: list[ServerCap] = []
    held: list[ChainCount] = []

    def look(corpus: Corpus) -> None:
        caps.extend(one.cap for one in corpus.caps())
        held.extend(count for count in corpus.stats().chains if count.teacher == name)

    absent = _absent(plan, name, wants, look)
    with_tokens = sum(count.counted for count in held)
    cap = _greatest_n(config, caps)
    requests = [-(-missing // (cap or missing)) for _, missing in absent]
    lengths = _prompt_lengths(plan, [want.prompt for want, _ in absent])
    counted = lengths is not None
    if lengths is None:
        lengths = [-(-len(want.prompt.words) // CHARACTERS_A_TOKEN) for want, _ in absent]
    return Estimate(
        teacher=name,
        wanted=sum(want.n for want in wants),
        missing=sum(missing for _, missing in absent),
        questions=len({want.question_key for want, _ in absent}),
        requests=sum(requests),
        max_n=cap,
        learned=cap != config.max_n,
        prompt_tokens=sum(length * times for length, times in zip(lengths, requests, strict=True)),
        counted=counted,
        most_tokens=sum(missing * want.sampling.max_tokens for want, missing in absent),
        mean_tokens=sum(count.tokens for count in held) / with_tokens if with_tokens >= ENOUGH_CHAINS else None,
        price=price_of(config),
        servers=len(config.base_urls),
        limits=_limits(config),
    )


def _limits(config: TeacherConfig) -> Limits:
    if config.kind != "openai":
        return Limits(requests=None, tokens=None)
    return Limits(requests=config.requests_per_minute, tokens=config.tokens_per_minute)


def _greatest_n(config: TeacherConfig, known: Sequence[ServerCap]) -> int | None:
    """Chains of one request, as the teacher itself would plan them."""
    if config.kind != "openai":
        return config.max_n
    from scotd.teachers.openai import OpenAITeacher

    return OpenAITeacher(config, known=known).max_n


def _absent(
    plan: Plan, name: str, wants: Sequence[Want], look: Callable[[Corpus], None] = lambda corpus: None
) -> list[tuple[Want, int]]:
    """Wants with the number of chains that are missing. `look` is shown what holds chains: the corpus, and what a run
    takes in first."""
    shipped = plan.shipped
    absent = [(want, tuple(range(want.n))) for want in wants]
    if plan.corpus_path.exists():
        with Corpus.open(plan.corpus_path, "ro") as corpus:
            absent = lacking(corpus, name, wants)
            look(corpus)
    if absent and shipped is not None:
        with TemporaryDirectory() as folder, Corpus.open(Path(folder) / "shipped.sqlite") as corpus:
            import_parquet(corpus, shipped)
            still = dict(lacking(corpus, name, [want for want, _ in absent]))
            look(corpus)
        absent = [(want, tuple(index for index in indices if index in still.get(want, ()))) for want, indices in absent]
    return [(want, len(indices)) for want, indices in absent if indices]


def _prompt_lengths(plan: Plan, prompts: Sequence[Prompt]) -> list[int] | None:
    """Tokens of the prompts, where the teacher runs here and its tokenizer is at hand; else None."""
    config = plan.experiment.teacher
    if config.kind != "local" or not prompts:
        return None
    try:
        from scotd.models import here
        from scotd.tokens import encode_prompt, load_tokenizer

        files = here(config.model)
        if files is None:
            return None
        tokenizer = load_tokenizer(files)
        return [len(encode_prompt(tokenizer, prompt)) for prompt in prompts]
    except (ScotdError, ModuleNotFoundError):
        return None
