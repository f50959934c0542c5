"""What sampling is going to ask for and cost, before it is asked: `scotd sample --dry-run`.

Nothing is sent and no weights are loaded. Whatever is not known is said to be: token counts are estimates where the
teacher's tokenizer is not here, prices are unknown where nobody lists them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from scotd.corpus import Corpus
from scotd.errors import ScotdError
from scotd.experiment.plan import Plan
from scotd.teachers import teacher_name
from scotd.teachers.prices import CHARACTERS_A_TOKEN, Price, price_of
from scotd.teachers.sampling import Want, lacking
from scotd.types import Prompt

ENOUGH_CHAINS = 30  # before their mean length says anything


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run of `scotd sample` would do.

    `prompt_tokens` are those that are billed: once a request. `counted` tells exact counts from estimates.
    `mean_tokens` is the mean length of this teacher's chains in the corpus, None before there are enough.
    """

    teacher: str
    wanted: int
    missing: int
    questions: int
    requests: int
    max_n: int | None
    prompt_tokens: int
    counted: bool
    most_tokens: int
    mean_tokens: float | None
    price: Price | None

    def cost(self, completion_tokens: float) -> Decimal | None:
        """US dollars with so many completion tokens; None where the price is unknown."""
        if self.price is None:
            return None
        return self.price.of(prompt_tokens=self.prompt_tokens, completion_tokens=round(completion_tokens))

    def lines(self) -> Iterator[str]:
        """The estimate in words."""
        yield f"teacher     {self.teacher}"
        yield f"chains      {self.missing:,} of {self.wanted:,} are missing, for {self.questions:,} questions"
        if not self.missing:
            return
        cap = "all chains of a question in one" if self.max_n is None else f"at most {self.max_n} chains each"
        yield f"requests    {self.requests:,} ({cap}; a server that gives fewer gets more requests)"
        how = "counted" if self.counted else f"estimated at {CHARACTERS_A_TOKEN} characters a token"
        yield f"prompts     {self.prompt_tokens:,} tokens ({how}, billed once a request)"
        most = f"at most {self.most_tokens:,} tokens (sampling.max_tokens)"
        expected = None if self.mean_tokens is None else self.mean_tokens * self.missing
        known = "" if expected is None else f"about {expected:,.0f} tokens ({self.mean_tokens:.0f} a chain so far), "
        yield f"chains cost {known}{most}"
        yield f"price       {self._money(expected)}"

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


def estimate(plan: Plan) -> Estimate:
    """Look at what the corpus lacks. Raises ScotdError where corpus or questions cannot be read."""
    config = plan.experiment.teacher
    name = teacher_name(config)
    wants = plan.wants() if config.kind != "imported" else []
    absent, mean = _absent(plan, name, wants)
    cap = config.max_n
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
        prompt_tokens=sum(length * times for length, times in zip(lengths, requests, strict=True)),
        counted=counted,
        most_tokens=sum(missing * want.sampling.max_tokens for want, missing in absent),
        mean_tokens=mean,
        price=price_of(config),
    )


def _absent(plan: Plan, name: str, wants: Sequence[Want]) -> tuple[list[tuple[Want, int]], float | None]:
    """Wants with the number of chains that are missing, and the mean tokens of this teacher's chains so far."""
    if not plan.corpus_path.exists():
        return [(want, want.n) for want in wants], None
    with Corpus.open(plan.corpus_path, "ro") as corpus:
        absent = [(want, len(indices)) for want, indices in lacking(corpus, name, wants)]
        here = [count for count in corpus.stats().chains if count.teacher == name]
    counted = sum(count.counted for count in here)
    mean = sum(count.tokens for count in here) / counted if counted >= ENOUGH_CHAINS else None
    return absent, mean


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
