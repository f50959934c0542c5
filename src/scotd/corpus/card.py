"""The dataset card of a corpus: who wrote its chains, how they were asked for, how many there are, how to load them.

    corpus_card(corpus, "owner/name", file="chains.parquet", licence=None)

Every number is counted from the corpus, every text of others goes through `scotd.cards`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from scotd import __version__
from scotd.answers import version as parser_version
from scotd.cards import code, fenced, front_matter
from scotd.corpus.store import Corpus
from scotd.types import Chain, Prompt, Question, SamplingParams

_EXAMPLE = 2_000  # characters of a prompt or a chain


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Chains of one teacher, drawn in one way, for the questions of one split."""

    teacher: str
    sampling: SamplingParams
    task: str
    split: str
    chains: int
    questions: int
    parsed: int
    labelled: int
    correct: int


def corpus_card(
    corpus: Corpus,
    repo: str,
    *,
    file: str,
    licence: str | None = None,
    task: str | None = None,
    split: str | None = None,
    teacher: str | None = None,
) -> str:
    """The card as Markdown with the hub's YAML header, of the part of a corpus that `export_parquet` writes with the
    same filters. `file` is its name in the repository; without a `licence` that of the questions is called unknown."""
    questions = {one.key: one for one in corpus.questions(task=task, split=split)}
    groups = list(_groups(corpus, questions, teacher))
    header: dict[str, object] = {
        "license": licence or "unknown",
        "tags": ["scotd", "chain-of-thought", "distillation"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": file}]}],
    }
    given = {"task": task, "split": split, "teacher": teacher}
    filters = ", ".join(f"{name} {code(value)}" for name, value in given.items() if value is not None)
    chains = sum(group.chains for group in groups)
    return f"""{front_matter(header)}
# {code(repo)}

{chains:,} chains of thought for {len(questions):,} questions, one row a chain, as `scotd corpus export` of scotd
{__version__} wrote them: whole, with those that are wrong or give no answer.

- filters: {filters or "none, it is the whole corpus"}
- licence of the questions: {code(licence) if licence else "unknown; it is that of wherever they come from"}
- licence of the chains: the terms of the teachers that wrote them

{_table(groups)}

An answer is what scotd's parser {code(parser_version())} reads in a chain. Correct is counted of the chains whose
question has a label; a chain without an answer is wrong.

{_lineage(corpus)}

## Load it

```python
from datasets import load_dataset

chains = load_dataset({repo!r}, split="train")
```

`scotd corpus import mine.sqlite {file}` takes the file into a corpus again, without a loss.

{_shown(corpus, questions, teacher)}
The chains were written by a language model and are shown as it wrote them: they may be wrong, and nothing in them is
an instruction to whoever reads or trains on them.
"""


def _groups(corpus: Corpus, questions: dict[str, Question], teacher: str | None) -> Iterator[_Group]:
    for kind in corpus.stats().chains:
        if teacher not in (None, kind.teacher):
            continue
        counts: dict[tuple[str, str], Counter[str]] = {}
        answered: dict[tuple[str, str], set[str]] = {}
        found = corpus.answered(questions, teacher=kind.teacher, sampling=kind.sampling, question_keys=list(questions))
        for one in found:
            question = questions[one.question_key]
            where = (question.task, question.split)
            count = counts.setdefault(where, Counter())
            answered.setdefault(where, set()).add(question.key)
            count["chains"] += 1
            count["parsed"] += one.answer is not None
            count["labelled"] += question.gold is not None
            count["correct"] += one.answer is not None and one.answer == question.gold
        for (task, split), count in sorted(counts.items()):
            yield _Group(
                teacher=kind.teacher,
                sampling=kind.sampling,
                task=task,
                split=split,
                questions=len(answered[task, split]),
                **{name: count[name] for name in ("chains", "parsed", "labelled", "correct")},
            )


def _table(groups: list[_Group]) -> str:
    rows = ["| teacher | sampling | task | split | questions | chains | with an answer | correct |", "|" + "---|" * 8]
    for one in groups:
        share = f"{one.correct / one.labelled:.1%} of {one.labelled:,}" if one.labelled else "no labels"
        drawn = f"temperature {one.sampling.temperature:g}, at most {one.sampling.max_tokens} tokens"
        named = " | ".join(map(code, (one.teacher, drawn, one.task, one.split)))
        rows.append(f"| {named} | {one.questions:,} | {one.chains:,} | {one.parsed / one.chains:.1%} | {share} |")
    return "\n".join(rows)


def _lineage(corpus: Corpus) -> str:
    """What the corpus comes from, by name, and of runs the version; the file's metadata holds them whole."""
    runs = dict.fromkeys((record.run, record.lineage.get("scotd")) for record in corpus.runs())
    if not runs:
        return "No run is recorded in it."
    named = "\n".join(f"- {code(run)}" + (f", scotd {code(str(by))}" if by else "") for run, by in runs)
    return f"Runs, imports and merges behind it, whose record stands in the file's metadata under `scotd`:\n\n{named}"


def _shown(corpus: Corpus, questions: dict[str, Question], teacher: str | None) -> str:
    """The first chain with the prompt that it answers; nothing where there is none."""
    first: Chain | None = next(iter(corpus.chains(teacher=teacher, question_keys=list(questions))), None)
    if first is None:
        return ""
    prompt = _spelt(corpus.prompts([first.prompt_id])[first.prompt_id])
    return (
        f"## The first chain\n\nIts prompt, exemplars included:\n\n{fenced(prompt, _EXAMPLE)}\n\n"
        f"What {code(first.teacher)} wrote:\n\n{fenced(first.text, _EXAMPLE)}\n"
    )


def _spelt(prompt: Prompt) -> str:
    if prompt.messages is None:
        return str(prompt.text)
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in prompt.messages)
