"""Packed equals separate: loss and every gradient, in float64, for four families; branches do not see each other."""

from typing import Any

import pytest
import torch
from conftest import KINDS, VOCABULARY, MakeModel
from hypothesis import given
from hypothesis import strategies as st

from scotd.errors import ModelError
from scotd.forward import (
    ATTENTION,
    CACHED_BYTES,
    CHUNK_BYTES,
    attention_of,
    head_is_plain,
    logits_loss,
    rows_within,
    tree_loss,
)
from scotd.tree import FILL, Branch, TreeBatch, TreeRow, check_supported, collate, pack, paths

TOKENS = st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=8)
FEW_TOKENS = st.lists(st.integers(2, 4), min_size=1, max_size=5)  # chains that begin alike, and equal ones
BRANCHES = st.lists(
    st.builds(Branch, tokens=FEW_TOKENS.map(tuple), weight=st.sampled_from([0.5, 1.0, 2.0])), min_size=1, max_size=6
)

ROWS: list[tuple[list[int], list[Branch]]] = [
    (
        [5, 6, 7, 8],
        [
            Branch(tokens=(9, 10, 11, 1)),
            Branch(tokens=(9, 10, 12)),  # cut off: no end token; begins like its sibling
            Branch(tokens=(9, 10, 11, 1), weight=2.0),  # equal to the first
            Branch(tokens=(9, 10)),  # what the others begin with, cut off
            Branch(tokens=(1,)),  # ends at once: no input of its own
        ],
    ),
    ([20, 21], [Branch(tokens=(30, 31, 32, 33, 34, 1), weight=0.25)]),
    ([20, 21], [Branch(tokens=tuple(range(40, 40 + length))) for length in (3, 30, 4, 29)]),
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


def batch_of(rows: list[tuple[list[int], list[Branch]]]) -> TreeBatch:
    return collate([pack(prompt, branches) for prompt, branches in rows])


# transformers computes RMS norms and rotary angles of Llama and Qwen in float32 whatever the weights are: there the two
# layouts agree to float32's rounding, elsewhere to float64's.
FLOAT32_INSIDE = {"llama", "qwen2"}


def assert_equal_to_separate(model: Any, kind: str, *, plain_head: bool) -> None:
    separate = separate_loss(model, ROWS)
    separate.backward()
    expected = gradients(model)
    with attention_of(model, ATTENTION):
        packed = tree_loss(model, batch_of(ROWS), plain_head=plain_head)
    packed.backward()
    found = gradients(model)
    close = 1e-7 if kind in FLOAT32_INSIDE else 1e-12
    torch.testing.assert_close(packed, separate, rtol=close, atol=0)
    assert found.keys() == expected.keys() and len(found) > 10
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    assert largest > 1e-3  # not equal because everything is zero
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=10 * close * largest, msg=name)


@pytest.mark.parametrize("plain_keys", [512, 0], ids=["plain attention", "torch's attention"])
@pytest.mark.parametrize("plain_head", [True, False], ids=["chunked loss", "whole logits"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_every_gradient_equal_separate_sequences(
    kind: str, plain_head: bool, plain_keys: int, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scotd.forward.PLAIN_KEYS", plain_keys)
    monkeypatch.setattr("scotd.forward.CACHED_BYTES", 4 * VOCABULARY * 3)  # two rows a chunk,
    monkeypatch.setattr("scotd.forward.GROUP_BYTES", 8 * VOCABULARY * 7)  # several products
    monkeypatch.setattr("scotd.tree.MOST_FILL", FILL)  # however small the rows
    model = make_model(kind).double()
    assert head_is_plain(model)
    assert_equal_to_separate(model, kind, plain_head=plain_head)


@pytest.mark.parametrize("vocabulary", [96, 32_000, 49_152, 151_936, 10_000_000])
@pytest.mark.parametrize("held", [CACHED_BYTES, CHUNK_BYTES])
def test_the_heads_rows_are_cut_as_products_like(vocabulary: int, held: int) -> None:
    rows = rows_within(vocabulary, held)
    assert rows % FILL == 0 or FILL % rows == 0
    assert rows == 1 or held / 4 < 4 * rows * vocabulary <= held


def test_a_head_with_a_bias_gets_its_gradient_too(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scotd.forward.CACHED_BYTES", 4 * VOCABULARY * 3)
    monkeypatch.setattr("scotd.forward.GROUP_BYTES", 8 * VOCABULARY * 7)
    monkeypatch.setattr("scotd.tree.MOST_FILL", FILL)
    model = make_model("llama")
    model.lm_head = torch.nn.Linear(model.config.hidden_size, VOCABULARY)
    assert head_is_plain(model.double())
    assert_equal_to_separate(model, "llama", plain_head=True)


def test_a_head_that_does_more_than_a_product_is_noticed_and_gets_its_logits_whole() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        attn_logit_softcapping=None,
        final_logit_softcapping=0.5,
        sliding_window=64,
    )
    model: Any = Gemma2ForCausalLM._from_config(config, attn_implementation="eager").double().eval()
    assert not head_is_plain(model)
    assert_equal_to_separate(model, "llama", plain_head=False)


def test_soft_capped_attention_is_refused() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, head_dim=8)
    model: Any = Gemma2ForCausalLM._from_config(config, attn_implementation="eager")
    with pytest.raises(ModelError, match="softcap"), attention_of(model, ATTENTION):
        tree_loss(model, batch_of(ROWS), plain_head=False)


def test_a_model_with_an_attention_of_its_own_is_refused() -> None:
    from transformers import GPTJConfig, GPTJForCausalLM

    model: Any = GPTJForCausalLM(GPTJConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=4, rotary_dim=4))
    before = model.config._attn_implementation
    with (
        pytest.raises(ModelError, match="GPTJForCausalLM computes attention by itself"),
        attention_of(model, ATTENTION),
    ):
        tree_loss(model, batch_of(ROWS), plain_head=True)
    assert model.config._attn_implementation == before


def test_a_mask_that_a_model_adds_is_refused(make_model: MakeModel) -> None:
    from scotd.forward import block_attention

    states = torch.zeros(1, 4, 3, 8)
    with pytest.raises(ModelError, match="a mask of its own"):
        block_attention(make_model("llama"), states, states, states, torch.zeros(1, 1, 3, 3), tree=batch_of(ROWS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_does_not_move_its_siblings(kind: str, make_model: MakeModel) -> None:
    model = make_model(kind).double()
    prompt = [5, 6, 7]

    def logits(second: tuple[int, ...]) -> torch.Tensor:
        batch = batch_of([(prompt, [Branch(tokens=(9, 10, 11)), Branch(tokens=second), Branch(tokens=(40, 41, 42))])])
        with attention_of(model, ATTENTION):
            found: torch.Tensor = model(
                input_ids=batch.tokens[None],
                position_ids=batch.positions[None],
                logits_to_keep=batch.kept,
                tree=batch,
                use_cache=False,
            ).logits[0]
        return found

    before, after = logits((20, 21, 22)), logits((50, 51, 22))
    # kept states: prompt's last, then two of each branch
    torch.testing.assert_close(before[[0, 1, 2, 5, 6]], after[[0, 1, 2, 5, 6]], rtol=0, atol=1e-12)
    assert (before[3] - after[3]).abs().max() > 1e-3


def test_the_loss_in_bfloat16_autocast_is_that_of_the_whole_logits(make_model: MakeModel) -> None:
    model, batch = make_model("llama"), batch_of(ROWS)
    with attention_of(model, ATTENTION), torch.autocast("cpu", torch.bfloat16):
        chunked = tree_loss(model, batch, plain_head=True)
        whole = tree_loss(model, batch, plain_head=False)
    assert chunked.dtype == torch.float32
    torch.testing.assert_close(chunked, whole, rtol=1e-6, atol=0)
    chunked.backward()
    found = gradients(model)
    whole.backward()
    expected = gradients(model)
    scale = max(gradient.abs().max().item() for gradient in expected.values())
    for name in expected:  # a product in bfloat16 is rounded to 8 bits
        assert (found[name] - expected[name]).abs().max().item() < 0.01 * scale, name


def test_the_chunked_loss_asks_for_no_gradient_of_a_frozen_head(make_model: MakeModel) -> None:
    model, batch = make_model("opt"), batch_of(ROWS)
    head = model.get_output_embeddings()
    head.weight.requires_grad_(False)
    with attention_of(model, ATTENTION):
        tree_loss(model, batch, plain_head=True).backward()
    assert head.weight.grad is None
    assert model.model.decoder.layers[0].fc1.weight.grad.abs().max() > 0


def walk(row: TreeRow) -> list[tuple[tuple[int, ...], float]]:
    """Every loss term as the tokens before it with its target, and its weight."""
    before: dict[int, list[int]] = {}
    for segment, path in zip(row.segments, paths(row), strict=True):
        for position in range(segment.start, segment.end):
            before[position] = [row.tokens[token] for token in path[: path.index(position) + 1]]
    return sorted(
        ((*before[source], target), weight)
        for source, target, weight in zip(row.sources, row.targets, row.weights, strict=True)
    )


@given(prompt=TOKENS, branches=BRANCHES)
def test_a_row_holds_every_beginning_once_with_the_weight_of_its_chains(
    prompt: list[int], branches: list[Branch]
) -> None:
    row = pack(prompt, branches)
    expected: dict[tuple[int, ...], float] = {}
    for branch in branches:
        for end in range(1, len(branch.tokens) + 1):
            beginning = (*prompt, *branch.tokens[:end])
            expected[beginning] = expected.get(beginning, 0.0) + branch.weight
    assert walk(row) == sorted(expected.items())
    inputs = {branch.tokens[:end] for branch in branches for end in range(1, len(branch.tokens))}
    assert len(row.tokens) == len(prompt) + len(inputs)
    assert row.branches == len(branches) and row.prompt == len(prompt)
    assert row.longest_path == len(prompt) + max(len(branch.tokens) for branch in branches)
    assert sum(row.weights) == pytest.approx(sum(branch.weight * len(branch.tokens) for branch in branches))


@given(rows=st.lists(st.tuples(TOKENS, BRANCHES), min_size=1, max_size=4))
def test_every_token_sees_its_ancestors_and_itself(rows: list[tuple[list[int], list[Branch]]]) -> None:
    packed = [pack(prompt, branches) for prompt, branches in rows]
    batch = collate(packed)
    expected: list[list[int]] = []
    for row in packed:
        start = len(expected)
        ancestors: dict[int, list[int]] = {}
        for segment, path in zip(row.segments, paths(row), strict=True):
            for position in range(segment.start, segment.end):
                ancestors[position] = [start + token for token in path[: path.index(position) + 1]]
        expected += [ancestors[position] for position in range(len(row.tokens))]
    seen: list[list[int]] = []
    for block in batch.blocks:
        for keys, mask in zip(block.keys, block.mask[:, 0], strict=True):
            assert mask.any(dim=-1).all(), "no row of the softmax is empty"
            seen += [keys[visible].tolist() for visible in mask]
    assert [seen[place] for place in batch.order.tolist()][: len(expected)] == expected
    assert {int(key) for block in batch.blocks for key in block.keys.flatten()} == set(range(len(expected)))


@pytest.mark.parametrize(("length", "filled"), [(1, 1), (320, 320), (609, 609), (630, 640), (641, 672), (1000, 1024)])
def test_rows_are_filled_up_to_what_products_like_where_that_is_little(length: int, filled: int) -> None:
    chain = Branch(tokens=tuple(range(length)))
    batch = collate([pack([1], [chain])])  # each of its tokens predicts the next
    assert len(batch.tokens) == len(batch.positions) == len(batch.order) == len(batch.kept) == filled
    assert set(batch.sources.tolist()) == set(range(length)), "what fills up predicts nothing"


def test_blocks_follow_the_lengths_of_segments() -> None:
    same = collate([pack(list(range(50)), [Branch(tokens=tuple(range(40)))])] * 8)
    assert len(same.blocks) == 1, "a prompt and its only chain are one segment"
    lengths = [20, 21, 22, 300, 310]
    mixed = collate([pack([1] * length, [Branch(tokens=(1,))]) for length in lengths])
    assert [block.queries.shape[0] for block in mixed.blocks] == [3, 2]


def test_models_that_cannot_take_a_tree_are_refused(make_model: MakeModel) -> None:
    from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

    check_supported(make_model("llama"), 400)
    with pytest.raises(ModelError, match="has 512 positions and the longest question with its chain takes 513"):
        check_supported(make_model("llama"), 513)
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


def test_whole_logits_count_a_state_once_for_each_of_its_terms(make_model: MakeModel) -> None:
    batch = batch_of(ROWS[:1])
    logits = torch.zeros(len(batch.kept), VOCABULARY)
    expected = batch.weights.sum() * torch.tensor(float(VOCABULARY)).log()
    torch.testing.assert_close(logits_loss(logits, batch), expected)
