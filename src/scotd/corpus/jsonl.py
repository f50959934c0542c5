"""Chains as JSONL for other training tools: TRL's `prompt`/`completion`, chat `messages`, or tokens.

export_jsonl(corpus, Path("train.jsonl"), form="prompt-completion", chain_ids=kept)
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from scotd.corpus.store import Corpus
from scotd.types import Chain, Prompt, Question, SamplingParams

NO_LOSS = -100  # the label of a token that is not learnt, in transformers and TRL

JsonlForm = Literal["prompt-completion", "messages"]


def export_jsonl(
    corpus: Corpus,
    path: Path,
    *,
    form: JsonlForm,
    chain_ids: Iterable[str] | None = None,
    prompt_of: Callable[[Question], Prompt] | None = None,
    completion_of: Callable[[Question, Chain], str] | None = None,
    task: str | None = None,
    split: str | None = None,
    teacher: str | None = None,
    sampling: SamplingParams | None = None,
) -> int:
    """Write one JSON object a chain; returns how many.

    `form` "prompt-completion" is TRL's (with a chat prompt: its conversational kind), "messages" the chat form. Without
    `prompt_of` (a student's prompt, say) the teacher's own prompt stands, without `completion_of` the raw text.
    `chain_ids`, in the corpus's order, leaves all others out. Each object names its question and chain, so that a line
    leads back to the corpus.
    """
    questions = {question.key: question for question in corpus.questions(task=task, split=split)}
    wanted = None if chain_ids is None else iter(chain_ids)
    prompts = Prompts(corpus)

    def values() -> Iterator[dict[str, object]]:
        following = None if wanted is None else next(wanted, None)
        for chain in corpus.chains(task=task, split=split, teacher=teacher, sampling=sampling):
            if wanted is not None:
                if chain.id != following:
                    continue
                following = next(wanted, None)
            question = questions[chain.question_key]
            prompt = prompts[chain.prompt_id] if prompt_of is None else prompt_of(question)
            completion = chain.text if completion_of is None else completion_of(question, chain)
            yield {**_pair(prompt, completion, form), "question": chain.question_key, "chain": chain.id}
        assert following is None, f"chain {following} is not in the corpus, or not in its place"

    return write_jsonl(path, values())


def export_pairs(path: Path, pairs: Iterable[tuple[str, Prompt, str, bool]], *, form: JsonlForm) -> int:
    """Write one JSON object for each (question key, prompt, completion, finished); returns how many.

    `finished` False is a chain that the token limit cut off, after which no end token is learnt: no form but tokens can
    tell another tool so, and the object only says it.
    """
    rows = (
        {**_pair(prompt, completion, form), "question": key, "finished": finished}
        for key, prompt, completion, finished in pairs
    )
    return write_jsonl(path, rows)


def export_tokens(path: Path, examples: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> int:
    """Write one JSON object for each (question key, prompt's tokens, target's tokens); returns how many.

    `input_ids` and `labels` are what TRL's trainer makes of a row itself; given them it changes nothing.
    """

    def rows() -> Iterator[dict[str, object]]:
        for key, prompt, target in examples:
            labels = [NO_LOSS] * len(prompt) + [*target]
            yield {"input_ids": [*prompt, *target], "labels": labels, "question": key}

    return write_jsonl(path, rows())


def write_jsonl(path: Path, values: Iterable[dict[str, object]]) -> int:
    """Write one line of JSON for each value, a file that is whole or not there; returns how many."""
    written = 0
    with whole_or_not_at_all(path) as part, part.open("w", encoding="utf-8", newline="\n") as out:
        for value in values:
            out.write(json.dumps(value, ensure_ascii=False) + "\n")
            written += 1
    return written


def _pair(prompt: Prompt, completion: str, form: JsonlForm) -> dict[str, object]:
    answer = [{"role": "assistant", "content": completion}]
    if form == "messages":
        turns = [{"role": "user", "content": prompt.text}] if prompt.messages is None else prompt.to_json()
        assert isinstance(turns, list)
        return {"messages": turns + answer}
    if prompt.messages is None:
        return {"prompt": prompt.text, "completion": completion}
    return {"prompt": prompt.to_json(), "completion": answer}


class Prompts:
    """Prompts by id, looked up once each and forgotten after some thousands."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._known: dict[str, Prompt] = {}

    def __getitem__(self, name: str) -> Prompt:
        if name not in self._known:
            if len(self._known) >= 4096:
                self._known.clear()
            self._known |= self._corpus.prompts([name])
        return self._known[name]


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path to write to that takes the file's name only when everything went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
