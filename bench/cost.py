"""What a corpus takes: requests, tokens, money, storage, hours. Arithmetic only; nothing is run, nothing is asked.

    python bench/cost.py                  # the tables of docs/scale.md
    python bench/cost.py --gpu-tokens 900 # with another number in the place of one of them

Every number that goes in stands in `GIVEN`, with where it comes from: "measured" by this project (docs/performance.md,
LOG.md), "published", or "assumed" by nobody but this file. Put your own in their place before you believe a price.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Given:
    """One number that goes in: its kind, what it is, and where it comes from."""

    value: float
    kind: str
    what: str


GIVEN: Mapping[str, Given] = {
    "paper_questions": Given(
        value=9741 + 4957 + 1941,
        kind="published",
        what="training questions of CommonsenseQA, OpenBookQA and QuaRel: 9,741 + 4,957 + 1,941",
    ),
    "chains_a_question": Given(value=30, kind="published", what="chains a question (paper, section 2)"),
    "large_chains": Given(value=100_000_000, kind="assumed", what="chains of the large corpus"),
    "prompt_tokens": Given(value=700, kind="assumed", what="tokens of a prompt with its exemplars"),
    "prompt_bytes": Given(value=2800, kind="assumed", what="bytes of such a prompt: 4 a token"),
    "chain_tokens": Given(value=45, kind="assumed", what="tokens of a chain"),
    "prompt_price": Given(value=0.15, kind="assumed", what="dollars a million tokens of prompts, an API's list price"),
    "chain_price": Given(value=0.60, kind="assumed", what="dollars a million tokens of chains, the same API"),
    "gpu_tokens": Given(
        value=2500, kind="assumed", what="tokens of chains a second and GPU: 7B parameters, vLLM; never measured here"
    ),
    "gpu_price": Given(value=2.50, kind="assumed", what="dollars for a GPU and hour"),
    "gpu_start": Given(value=180, kind="assumed", what="seconds until a worker has loaded its model"),
    "chain_bytes": Given(
        value=309,
        kind="measured",
        what="bytes of a chain in the corpus without its prompt: 99,990 chains of bench/corpus.py, 115 characters each",
    ),
    "writer_chains": Given(
        value=53_500, kind="measured", what="chains a second into a corpus of 999,990 (docs/performance.md)"
    ),
    "client_microseconds": Given(
        value=130, kind="measured", what="microseconds of CPU a chain in client and corpus (docs/performance.md)"
    ),
    "cpu_tokens": Given(
        value=182,
        kind="measured",
        what="tokens of chains a second, 1.5B parameters on 2 CPU cores (docs/performance.md)",
    ),
}
GPUS = (1, 8, 64)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a number of questions with N chains each takes. Dollars, bytes, hours."""

    questions: int
    given: Mapping[str, float]

    @property
    def chains(self) -> int:
        return round(self.questions * self.given["chains_a_question"])

    @property
    def chain_tokens(self) -> float:
        return self.chains * self.given["chain_tokens"]

    def prompt_tokens(self, *, requests: int) -> float:
        return requests * self.given["prompt_tokens"]

    def dollars(self, *, requests: int) -> float:
        prompts = self.prompt_tokens(requests=requests) * self.given["prompt_price"]
        return (prompts + self.chain_tokens * self.given["chain_price"]) / 1e6

    @property
    def stored_bytes(self) -> float:
        return self.chains * self.given["chain_bytes"] + self.questions * self.given["prompt_bytes"]

    def hours(self, gpus: int) -> float:
        """Every worker loads once and then writes; they share nothing, so that their rates add up."""
        return (self.chain_tokens / self.given["gpu_tokens"] / gpus + self.given["gpu_start"]) / 3600


def tables(changed: Mapping[str, float] | None = None) -> str:
    """The tables as Markdown, with every number that went in. `changed` takes the place of some of them."""
    given = {name: one.value for name, one in GIVEN.items()} | dict(changed or {})
    paper = Cost(questions=round(given["paper_questions"]), given=given)
    large = Cost(questions=-(-round(given["large_chains"]) // round(given["chains_a_question"])), given=given)
    lines = ["| what goes in | value | kind |", "|---|---|---|"]
    for name, one in GIVEN.items():
        kind = "yours" if given[name] != one.value else one.kind
        lines.append(f"| `{name}`: {one.what} | {_plain(given[name])} | {kind} |")
    lines += ["", "| what comes out | the paper's corpus | 100 million chains |", "|---|---|---|"]
    lines += [
        f"| {what} | {first} | {second} |"
        for (what, first), (_, second) in zip(_rows(paper), _rows(large), strict=True)
    ]
    lines += [
        "",
        "| GPUs | chains a second | share of what one writer stores | the paper's corpus | 100 million chains |",
    ]
    lines.append("|---|---|---|---|---|")
    for gpus in GPUS:
        rate = gpus * given["gpu_tokens"] / given["chain_tokens"]
        share = rate / given["writer_chains"]
        lines.append(
            f"| {gpus} | {rate:,.0f} | {share:.1%} | {_hours(paper.hours(gpus))} | {_hours(large.hours(gpus))} |"
        )
    return "\n".join(lines)


def _rows(cost: Cost) -> Iterator[tuple[str, str]]:
    given = cost.given
    yield "questions", f"{cost.questions:,}"
    yield "chains", f"{cost.chains:,}"
    yield "tokens of chains", _millions(cost.chain_tokens)
    yield "requests, all chains of a question in one", f"{cost.questions:,}"
    yield "tokens of prompts, so", _millions(cost.prompt_tokens(requests=cost.questions))
    yield "dollars to an API, so", f"{cost.dollars(requests=cost.questions):,.0f}"
    yield "dollars, a request for each chain", f"{cost.dollars(requests=cost.chains):,.0f}"
    yield "dollars for GPUs of one's own", f"{cost.hours(1) * given['gpu_price']:,.0f}"
    yield "corpus, before answers are read", f"{cost.stored_bytes / 1e9:,.2f} GB"
    yield "storing alone", _hours(cost.chains / given["writer_chains"] / 3600)
    yield "one client's CPU, through a server", _hours(cost.chains * given["client_microseconds"] / 1e6 / 3600)
    yield "a model of 1.5B parameters on 2 CPU cores", _hours(cost.chain_tokens / given["cpu_tokens"] / 3600)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _millions(value: float) -> str:
    return f"{value / 1e6:,.0f} million"


def _hours(value: float) -> str:
    if value < 1:
        return f"{value * 60:,.1f} min"
    return f"{value:,.1f} h" if value < 72 else f"{value / 24:,.0f} days"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, one in GIVEN.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, metavar="NUMBER", help=one.what.replace("%", "%%")
        )
    changed = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    print(tables(changed))


if __name__ == "__main__":
    main()
