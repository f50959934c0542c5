"""Packed equals separate: loss and every gradient, in float64, for four families; branches do not see each other."""

from typing import Any

import pytest
import torch
from conftest import KINDS, VOCABULARY, MakeModel
from hypothesis import given
from hypothesis import strategies as st

from scotd.errors import ModelError
from scotd.tree import Branch, branch_loss, check_supported, collate, model_inputs, pack, total_weight, unpack

TOKENS = st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=8)
BRANCHES = st.lists(
    st.builds(Branch, tokens=TOKENS.map(tuple), weight=st.sampled_from([0.5, 1.0, 2.0])), min_size=1, max_size=5
)

ROWS: list[tuple[list[int], list[Branch]]] = [
    (
        [5, 6, 7, 8],
        [
            Branch(tokens=(9, 10, 11, 1)),
            Branch(tokens=(9, 10, 12)),  # cut off: no end token; begins like its sibling
            Branch(tokens=(9, 10, 11, 1), weight=2.0),  # equal to the first
            Branch(tokens=(1,)),  # ends at once: no input of its own
        ],
    ),
    ([20, 21], [Branch(tokens=(30, 31, 32, 33, 34, 1), weight=0.25)]),
]


def separate_loss(model: Any, rows: list[tuple[list[int], list[Branch]]]) -> torch.Tensor:
    """The same loss with every chain as a sequence of its own, through the model's default causal attention."""
    loss = torch.zeros((), dtype=torch.float64)
    for prompt, branches in rows:
        for branch in branches:
            tokens = torch.tensor([[*prompt, *branch.tokens]])
            logits = model(input_ids=tokens).logits[0]
            chosen = logits[len(prompt) - 1 : -1].log_softmax(-1)
            picked = chosen.gather(1, tokens[0, len(prompt) :, None])
            loss = loss - branch.weight * picked.sum()
    return loss


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


# transformers computes RMS norms and rotary angles of Llama and Qwen, and eager OPT's softmax, in float32 whatever the
# weights are: there the two layouts agree to float32's rounding, elsewhere to float64's.
FLOAT32_INSIDE = {("llama", "sdpa"), ("llama", "eager"), ("qwen2", "sdpa"), ("qwen2", "eager"), ("opt", "eager")}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_every_gradient_equal_separate_sequences(kind: str, attention: str, make_model: MakeModel) -> None:
    model = make_model(kind).double()
    separate = separate_loss(model, ROWS)
    separate.backward()
    expected = gradients(model)
    model.set_attn_implementation(attention)
    batch = collate([pack(prompt, branches) for prompt, branches in ROWS], pad_token=0)
    packed = branch_loss(model(**model_inputs(batch, attention, torch.float64)).logits, batch)
    packed.backward()
    found = gradients(model)
    close = 1e-7 if (kind, attention) in FLOAT32_INSIDE else 1e-12
    torch.testing.assert_close(packed, separate, rtol=close, atol=0)
    assert found.keys() == expected.keys() and len(found) > 10
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    assert largest > 1e-3  # not equal because everything is zero
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=10 * close * largest, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_does_not_move_its_siblings(kind: str, make_model: MakeModel) -> None:
    model = make_model(kind).double()
    prompt = [5, 6, 7]

    def logits(second: tuple[int, ...]) -> torch.Tensor:
        row = pack(prompt, [Branch(tokens=(9, 10, 11)), Branch(tokens=second), Branch(tokens=(40, 41, 42))])
        batch = collate([row], pad_token=0)
        found: torch.Tensor = model(**model_inputs(batch, "sdpa", torch.float64)).logits
        return found

    before, after = logits((20, 21, 22)), logits((50, 51, 22))
    # kept states: prompt's last, then two of each branch
    torch.testing.assert_close(before[[0, 1, 2, 5, 6]], after[[0, 1, 2, 5, 6]], rtol=0, atol=1e-12)
    assert (before[3] - after[3]).abs().max() > 1e-3


@given(prompt=TOKENS, branches=BRANCHES)
def test_unpack_inverts_pack(prompt: list[int], branches: list[Branch]) -> None:
    row = pack(prompt, branches)
    assert unpack(row) == (prompt, branches)
    assert row.branches == len(branches)
    assert len(row.tokens) == len(prompt) + sum(len(branch.tokens) - 1 for branch in branches)
    assert row.longest_path == len(prompt) + max(len(branch.tokens) for branch in branches)
    assert total_weight([row]) == pytest.approx(sum(branch.weight * len(branch.tokens) for branch in branches))


def test_padding_is_seen_by_nothing_and_no_row_of_the_mask_is_empty() -> None:
    batch = collate([pack(prompt, branches) for prompt, branches in ROWS], pad_token=0)
    mask = batch.mask[:, 0]
    assert mask.any(dim=-1).all()
    used = len(pack(*ROWS[1]).tokens)
    assert used < mask.shape[-1]
    assert not mask[1, :used, used:].any()


def test_models_that_cannot_take_a_tree_are_refused(make_model: MakeModel) -> None:
    from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

    check_supported(make_model("llama"), 400)
    tiny: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    mamba = MambaForCausalLM(MambaConfig(**tiny, pad_token_id=0))
    with pytest.raises(ModelError, match="position_ids"):
        check_supported(mamba, 10)
    mistral = MistralForCausalLM(
        MistralConfig(**tiny, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, sliding_window=16)
    )
    check_supported(mistral, 16)
    with pytest.raises(ModelError, match="window of 16 tokens"):
        check_supported(mistral, 17)
