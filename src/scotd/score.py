"""What a model thinks of chains that are given: the log-probability of every token, computed on trees.

    score(model, [(prompt, chains), ...])      # token ids in, nats out

The numbers of a model that did not write the chains: `scored-by MODEL`, never to be mixed with what a teacher reported
of its own (docs/design.md). All chains of a question are one row, as in training.
"""

from collections.abc import Sequence
from typing import Any

import torch

from scotd.forward import ATTENTION, attention_of, head_is_plain, tree_logprobs
from scotd.tree import Branch, check_supported, collate, pack, terms_of

Tokens = Sequence[int]


def score(
    model: Any, questions: Sequence[tuple[Tokens, Sequence[Tokens]]], *, batch_chains: int = 64
) -> list[list[list[float]]]:
    """By question and chain the log-probability of each token in nats, at temperature 1 and over the full vocabulary.

    Whether an end token counts is the caller's: it counts where it is given. Raises ModelError where a chain is too
    long for the model.
    """
    if not questions:
        return []
    rows = [pack(prompt, [Branch(tokens=tuple(chain)) for chain in chains]) for prompt, chains in questions]
    check_supported(model, max(row.longest_path for row in rows), "shorten prompts and chains")
    device = next(model.parameters()).device
    plain = head_is_plain(model)
    found: list[list[list[float]]] = []
    with attention_of(model, ATTENTION):
        for start, end in _batches([len(chains) for _, chains in questions], batch_chains):
            logprobs = tree_logprobs(model, collate(rows[start:end]).to(device), plain_head=plain).cpu()
            for row, (_, chains) in zip(rows[start:end], questions[start:end], strict=True):
                mine, logprobs = logprobs[: len(row.targets)], logprobs[len(row.targets) :]
                found.append([mine[torch.tensor(terms)].tolist() for terms in terms_of(row, chains)])
    return found


def _batches(counts: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Cut rows into batches of at most `room` chains; a row alone may hold more."""
    cuts: list[tuple[int, int]] = []
    start = held = 0
    for number, count in enumerate(counts):
        if number > start and held + count > room:
            cuts.append((start, number))
            start, held = number, 0
        held += count
    return [*cuts, (start, len(counts))]
