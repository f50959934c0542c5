"""Scores of given chains on trees equal a plain forward pass of each chain alone."""

from typing import Any

import pytest
import torch
from conftest import KINDS, MakeModel

from scotd.errors import ModelError
from scotd.score import score
from scotd.tree import FILL

QUESTIONS: list[tuple[list[int], list[list[int]]]] = [
    ([5, 6, 7, 8], [[9, 10, 11, 1], [9, 10, 12], [9, 10, 11, 1], [9, 10], [1]]),
    ([20, 21], [[30, 31, 32, 33]]),
    ([5, 6], [[40], [41, 42]]),
]


def alone(model: Any, prompt: list[int], chain: list[int]) -> list[float]:
    tokens = torch.tensor([[*prompt, *chain]])
    with torch.no_grad():
        logprobs = model(input_ids=tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    found: list[float] = logprobs.gather(1, tokens[0, len(prompt) :, None])[:, 0].tolist()
    return found


@pytest.mark.parametrize("batch_chains", [1, 6, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_a_plain_pass(
    kind: str, batch_chains: int, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scotd.forward.CHUNK_BYTES", 4 * 96 * 3)
    monkeypatch.setattr("scotd.tree.MOST_FILL", FILL)  # however small the rows
    model = make_model(kind).double()
    expected = [[alone(model, prompt, chain) for chain in chains] for prompt, chains in QUESTIONS]
    found = score(model, QUESTIONS, batch_chains=batch_chains)
    assert [len(row) for row in found] == [5, 1, 2]
    for row, wanted in zip(found, expected, strict=True):
        for chain, wanted_of in zip(row, wanted, strict=True):
            assert chain == pytest.approx(wanted_of, abs=1e-6)
    assert model.config._attn_implementation == "sdpa"
    assert len({value for row in expected for chain in row for value in chain}) > 10


def test_a_chain_that_is_too_long_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match="512 positions"):
        score(make_model("gpt2"), [([2] * 500, [[3] * 20])])


def test_scores_under_autocast_are_near_those_in_full_precision(make_model: MakeModel) -> None:
    model = make_model("llama")
    expected = score(model, QUESTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        found = score(model, QUESTIONS)
    assert found != expected
    for row, wanted in zip(found, expected, strict=True):
        for chain, wanted_of in zip(row, wanted, strict=True):
            assert chain == pytest.approx(wanted_of, rel=0.1)
    assert score(model, []) == []
