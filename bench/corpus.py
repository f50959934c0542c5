"""The corpus at size: bulk import, selections, statistics, export, and feeding the trainer, with rate and memory.

    python bench/corpus.py                      # 10,000, 100,000 and 1,000,000 chains (30 a question)
    python bench/corpus.py --sizes 10000000     # once, for the record

Each operation runs in a process of its own on the same file; equality first: what comes out is counted against what
went in. A rate that holds from size to size says that the cost grows linearly, memory that does not says that it does
not grow with the corpus. There is no peer: the floor is a number of chains a second.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from harness import Found, ask, emit, note, peak_gib, worker

SCRIPT = str(Path(__file__))
CHAINS = 30
TEACHER = "import:bench"


def questions(size: int) -> Iterator[Any]:
    from scotd.types import Choice, Question

    choices = tuple(Choice(label=label, text=f"choice {label}") for label in "ABCDE")
    for number in range(size // CHAINS):
        stem = f"Where would one find thing number {number}, of all the places that there are?"
        gold = "ABCDE"[number % 5]
        yield Question(id=f"{number:08}", task="bench", split="train", stem=stem, choices=choices, gold=gold)


def prompt_of(stem: str) -> Any:
    from scotd.types import Prompt

    return Prompt(text=f"Q: {stem}\nA:")


def chains(size: int) -> Iterator[Any]:
    """About 25 words each; three or four of five answer what their question asks for."""
    from scotd.types import Chain, Finish, SamplingParams

    sampling = SamplingParams(max_tokens=128)
    for question in questions(size):
        prompt = prompt_of(question.stem).id
        for index in range(CHAINS):
            digest = hashlib.md5(f"{question.id} {index}".encode()).hexdigest()
            words = " ".join(digest[at : at + 4] for at in range(0, 32, 4))
            answer = question.gold if index % 5 < 3 else "ABCDE"[index % 5]
            yield Chain(
                question_key=question.key,
                prompt_id=prompt,
                teacher=TEACHER,
                sampling=sampling,
                index=index,
                text=f" The thing is {words} and such things are kept where {words} is. So the answer is ({answer}).",
                finish=Finish.STOP,
                n_tokens=45,
                mean_logprob=-0.5,
            )


def opened(spec: Any) -> Any:
    from scotd.corpus import Corpus

    return Corpus.open(Path(spec["folder"]) / "corpus.sqlite")


def timed(operation: Callable[[Any, int], int], spec: Any) -> Found:
    with opened(spec) as corpus:
        started = time.perf_counter()
        count = operation(corpus, spec["size"])
        return {"seconds": time.perf_counter() - started, "count": count, "peak_gib": peak_gib()}


def add(corpus: Any, size: int) -> int:
    """Chains from memory into the file: the floor under every import."""
    corpus.add_questions(questions(size))
    corpus.add_prompts(prompt_of(question.stem) for question in questions(size))
    return int(corpus.add_chains(chains(size)).new)


def selecting(name: str) -> Callable[[Any, int], int]:
    def operation(corpus: Any, size: int) -> int:
        from scotd.select import select

        known = {question.key: question for question in corpus.questions()}
        chosen = corpus.save_selection("bench", name, select(name, corpus.answered(known, teacher=TEACHER), known))
        return int(chosen.kept + sum(chosen.dropped.values()))

    return operation


def at_random(corpus: Any, size: int) -> int:
    """Five of each question's right chains, drawn at random: the filter on top of `correct`."""
    from dataclasses import replace

    from scotd.filters import FILTERS, Candidate, keep
    from scotd.select import select

    known = {question.key: question for question in corpus.questions()}

    def fates() -> Iterator[Any]:
        right = select("correct", corpus.answered(known, teacher=TEACHER), known)
        for key, group in groupby(right, key=lambda fate: fate.question_key):
            held = list(group)
            candidates = [Candidate(chain_id=one.chain_id, rationale="", answer="") for one in held if not one.dropped]
            kept = keep(FILTERS["random"], key, candidates, 5, 0)
            yield from (one if one.dropped or one.chain_id in kept else replace(one, dropped="over") for one in held)

    chosen = corpus.save_selection("bench", "correct, random", fates())
    return int(chosen.kept + sum(chosen.dropped.values()))


def stats(corpus: Any, size: int) -> int:
    return sum(one.chains for one in corpus.stats().chains)


def export(corpus: Any, size: int) -> int:
    from scotd.corpus.exchange import export_parquet

    return int(export_parquet(corpus, corpus.path.with_name("chains.parquet")).chains)


def take_in(corpus: Any, size: int) -> int:
    """The exported file into an empty corpus."""
    from scotd.corpus import Corpus
    from scotd.corpus.exchange import import_parquet

    with Corpus.open(corpus.path.with_name("second.sqlite")) as second:
        found = import_parquet(second, corpus.path.with_name("chains.parquet"))
    return int(found.added.new) if found.added is not None else 0


def stream(corpus: Any, size: int) -> int:
    """Chains out of the file, one by one: what feeds selections and the trainer."""
    return sum(1 for _ in corpus.chains(teacher=TEACHER))


def answers(corpus: Any, size: int) -> int:
    """What chains answer, read for the first time: later readers find it in the file."""
    known = {question.key: question for question in corpus.questions()}
    return sum(one.answer is not None for one in corpus.answered(known, teacher=TEACHER))


def feed(corpus: Any, size: int) -> int:
    """The chains that `correct` kept, as training examples in tokens, and once through them as an epoch reads them.

    The count is that of the whole corpus: reading only the kept ones is part of the job.
    """
    from scotd.models import resolve
    from scotd.token_store import TokenStore, tokenize
    from scotd.tokens import load_tokenizer
    from scotd.types import TrainingExample

    known = {question.key: question for question in corpus.questions()}

    def examples() -> Iterator[Any]:
        for key, found in groupby(corpus.selected("bench", "correct"), key=lambda chain: chain.question_key):
            texts = tuple(chain.text for chain in found)
            yield TrainingExample(
                question_key=key,
                prompt=prompt_of(known[key].stem),
                targets=texts,
                finished=(True,) * len(texts),
                weights=(1.0,) * len(texts),
            )

    tokenizer = load_tokenizer(resolve("smollm2-135m-instruct"))
    with tempfile.TemporaryDirectory() as folder:
        store = TokenStore.of(tokenize(examples(), tokenizer, 512), Path(folder))
        read = sum(len(store[number].branches) for number in range(len(store)))
    dropped = sum(fate.dropped is not None for fate in corpus.fates("bench", "correct"))
    return int(read + dropped)


OPERATIONS = {
    "add": add,
    "stream": stream,
    "answers": answers,
    "select_correct": selecting("correct"),
    "select_majority": selecting("majority"),
    "select_random": at_random,
    "feed": feed,
    "stats": stats,
    "export": export,
    "import": take_in,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", choices=OPERATIONS, help="be the worker of one operation")
    parser.add_argument("--only", help="part of an operation's name (add always runs)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    given = parser.parse_args()
    if given.side:
        worker({name: partial(timed, operation) for name, operation in OPERATIONS.items()}, given.side)
        return
    for wanted in given.sizes:
        size = wanted - wanted % CHAINS
        with tempfile.TemporaryDirectory() as folder:
            for name in OPERATIONS:
                if name != "add" and given.only is not None and given.only not in name:
                    continue
                note(f"{name}, {size} chains")
                found = ask(SCRIPT, name, {"folder": folder, "size": size})
                if found["count"] != size:
                    sys.exit(f"{name}: {found['count']} of {size} chains. Nothing was measured.")
                more = {}
                if name == "add":
                    more["bytes_a_chain"] = round((Path(folder) / "corpus.sqlite").stat().st_size / size)
                emit(
                    f"corpus_{name}",
                    chains=size,
                    chains_a_second=round(size / found["seconds"]),
                    seconds=round(found["seconds"], 2),
                    peak_gib=found["peak_gib"],
                    **more,
                )


if __name__ == "__main__":
    main()
