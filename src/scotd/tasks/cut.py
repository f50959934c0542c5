"""Long stems cut after so many words (`questions.max_stem_words`; the paper cuts IMDB's reviews to 700 tokens).

    cut = shortened(questions, 500)
    cut[0].stem         # "I saw this film ... and then [...]"
    cut[0].id           # "train-5f0c...-first500": other words are another question, with chains of its own
    cut[0].cut_words    # how many are gone; `scotd.tasks.notes` counts the questions of each split

Words are what white space parts, since tokens cannot be counted before a tokenizer is chosen and a question is the same
for every model. The words at the end go, and "[...]" says so to whoever reads the stem. A question that is short enough
stays what it is, with its id and its chains.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from scotd.types import Question

MARK = " [...]"
_WORD = re.compile(r"\S+")


def shortened(questions: Sequence[Question], max_words: int) -> list[Question]:
    """Return the questions, in order, with stems of at most `max_words` words. `pair` follows ids that changed."""
    cut = [_cut(question, max_words) for question in questions]
    names = {before.id: after.id for before, after in zip(questions, cut, strict=True)}
    return [
        question if question.pair is None else replace(question, pair=names.get(question.pair, question.pair))
        for question in cut
    ]


def words_of(text: str) -> int:
    """Count words as they are counted here."""
    return sum(1 for _ in _WORD.finditer(text))


def kept_text(question: Question) -> str:
    """Return the stem without the mark that a cut leaves."""
    return question.stem.removesuffix(MARK) if question.cut_words else question.stem


def _cut(question: Question, max_words: int) -> Question:
    ends = [word.end() for word in _WORD.finditer(question.stem)]
    if len(ends) <= max_words:
        return question
    return replace(
        question,
        id=f"{question.id}-first{max_words}",
        stem=question.stem[: ends[max_words - 1]] + MARK,
        cut_words=len(ends) - max_words,
    )
