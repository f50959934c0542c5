"""The engine against transformers' own generate and a plain forward pass, and against itself in other batches."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import END, KINDS, VOCABULARY, MakeModel

from scotd.blocks import MIN_SHARED
from scotd.choose import choose, restrict
from scotd.decode import Decoder
from scotd.errors import ModelError
from scotd.levels import ATTENTION, OwnCache, Shared, level_attention
from scotd.types import Finish, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=20)


def some_prompts(prefix: int, own: tuple[int, ...] = (3, 7, 5)) -> list[list[int]]:
    draw = np.random.default_rng(0)
    shared = draw.integers(2, VOCABULARY, prefix).tolist()
    return [shared + draw.integers(2, VOCABULARY, length).tolist() for length in own]


@pytest.mark.parametrize("prefix", [0, 24])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_generate_and_logprobs_equal_a_plain_pass(
    kind: str, prefix: int, make_model: MakeModel, tokenizer: Any
) -> None:
    model = make_model(kind)
    prompts = some_prompts(prefix)
    decoder = Decoder(model, tokenizer)
    assert decoder.share(prompts) == prefix
    completions = decoder.complete(prompts, [[0], [0, 0], [0]], GREEDY)
    assert [len(group) for group in completions] == [1, 2, 1]
    for prompt, group in zip(prompts, completions, strict=True):
        ids = torch.tensor([prompt])
        generated = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        expected = generated[0, len(prompt) :]
        logprobs = model(generated).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        kept = len(expected) - int(expected[-1] == END)  # the mean is over the kept tokens, without the end token
        mean = logprobs.gather(1, expected[:, None])[:kept].mean().item()
        for completion in group:
            assert completion.text == tokenizer.decode(expected, skip_special_tokens=True)
            assert completion.n_tokens == len(expected)
            assert completion.mean_logprob == pytest.approx(mean, abs=1e-5)
    assert model.config._attn_implementation == "sdpa" != ATTENTION


def test_the_prefix_changes_nothing(make_model: MakeModel, tokenizer: Any) -> None:
    model = make_model("llama")
    prompts = some_prompts(MIN_SHARED)
    params = SamplingParams(temperature=1.0, max_tokens=15)
    seeds = [[1, 2], [3], [4]]
    with_prefix = Decoder(model, tokenizer)
    assert with_prefix.share(prompts) == MIN_SHARED
    without = Decoder(model, tokenizer)
    texts = [[c.text for c in group] for group in with_prefix.complete(prompts, seeds, params)]
    assert texts == [[c.text for c in group] for group in without.complete(prompts, seeds, params)]
    assert len({text for group in texts for text in group}) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_chains_depend_on_their_seed_and_not_on_their_batch(
    kind: str, make_model: MakeModel, tokenizer: Any
) -> None:
    model = make_model(kind).double()
    prompts = some_prompts(0, own=(4, 9, 6))
    params = SamplingParams(temperature=0.8, top_p=0.9, max_tokens=25)
    together = Decoder(model, tokenizer).complete(prompts, [[1, 2, 3], [4], [5, 6]], params)
    alone = Decoder(model, tokenizer).complete(prompts[:1], [[2]], params)
    assert alone[0][0].text == together[0][1].text
    assert len({completion.text for completion in together[0]}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_that_takes_the_place_of_one_that_ended_goes_on_as_alone(
    kind: str, make_model: MakeModel, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[int] = []
    before = OwnCache.move

    def move(cache: OwnCache, sources: torch.Tensor, targets: torch.Tensor) -> None:
        moves.append(len(sources))
        before(cache, sources, targets)

    monkeypatch.setattr(OwnCache, "move", move)
    model = make_model(kind).double()
    prompts = some_prompts(24, own=(4, 9, 6))
    params = SamplingParams(temperature=3.0, max_tokens=120)  # so hot that chains end, at different steps
    seeds = [list(range(1, 10)), [11], [12, 13, 14, 15]]
    decoder = Decoder(model, tokenizer)
    decoder.share(prompts)
    together = decoder.complete(prompts, seeds, params)
    assert sum(moves) > 3, "chains moved"
    for prompt, group, own_seeds in zip(prompts, together, seeds, strict=True):
        for chain, seed in zip(group, own_seeds, strict=True):
            ((alone,),) = decoder.complete([prompt], [[seed]], params)
            assert (chain.text, chain.n_tokens) == (alone.text, alone.n_tokens)
            assert chain.mean_logprob == pytest.approx(alone.mean_logprob, abs=1e-6)


def test_stop_strings_end_a_chain_and_are_cut_off(make_model: MakeModel, tokenizer: Any) -> None:
    model = make_model("llama")
    prompts = some_prompts(0, own=(5,))
    plain = Decoder(model, tokenizer).complete(prompts, [[0]], GREEDY)[0][0]
    assert plain.finish is Finish.LENGTH
    stop = plain.text[6:8]
    stopped = Decoder(model, tokenizer).complete(
        prompts, [[0]], SamplingParams(temperature=0, max_tokens=20, stop=(stop,))
    )[0][0]
    assert stopped.finish is Finish.STOP
    assert stopped.text == plain.text[: plain.text.index(stop)]
    assert stopped.n_tokens is not None and stopped.n_tokens < 20


def test_an_end_token_ends_a_chain_while_others_go_on(make_model: MakeModel, tokenizer: Any) -> None:
    model = make_model("llama")
    params = SamplingParams(temperature=3.0, max_tokens=60)  # so hot that the end token comes up soon for most
    prompts = some_prompts(0, own=(5, 6))
    groups = Decoder(model, tokenizer).complete(prompts, [list(range(12)), list(range(12, 24))], params)
    finishes = [completion.finish for group in groups for completion in group]
    assert {Finish.STOP, Finish.LENGTH} == set(finishes)
    for completion in (completion for group in groups for completion in group):
        assert completion.n_tokens is not None
        assert completion.finish is Finish.STOP or completion.n_tokens == 60


def test_choose_follows_the_distribution() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(4000, 4)
    uniforms = torch.tensor(np.random.default_rng(0).random(4000))
    tokens, logprobs = choose(logits, SamplingParams(temperature=1.0), uniforms)
    shares = torch.bincount(tokens, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), rtol=0, atol=0.03)
    cooled, cooled_logprobs = choose(logits, SamplingParams(temperature=0.5), uniforms)
    expected = torch.tensor([1.0, 4.0, 9.0, 16.0]) / 30
    torch.testing.assert_close(torch.bincount(cooled, minlength=4) / 4000, expected, rtol=0, atol=0.03)
    # the log-probability is that of temperature 1 whatever the sampling was
    torch.testing.assert_close(logprobs, logits[0][tokens])
    torch.testing.assert_close(cooled_logprobs, logits[0][cooled])


@pytest.mark.parametrize("vocabulary", [511, 512, 1300])
def test_choose_over_blocks_is_the_inverse_of_the_whole_cdf(vocabulary: int) -> None:
    logits = torch.randn(200, vocabulary, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, ::3] = -torch.inf
    uniforms = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tokens, _ = choose(logits, SamplingParams(temperature=0.7), uniforms)
    cdf = (logits / 0.7).softmax(dim=-1).cumsum(dim=-1)
    expected = torch.searchsorted(cdf, uniforms[:, None], right=True)[:, 0]
    assert tokens.tolist() == expected.tolist()
    assert len(set(tokens.tolist())) > 50


def test_the_nucleus_is_the_same_whether_all_tokens_are_sorted_or_the_likely_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(20, 300, generator=torch.Generator().manual_seed(0)) * 2
    params = SamplingParams(top_p=0.6)
    few = restrict(logits, params)
    monkeypatch.setattr("scotd.choose.CANDIDATES", 3)  # too few: everything is sorted
    assert torch.equal(few, restrict(logits, params))
    assert 20 < torch.isfinite(few).sum() < 20 * 150


def test_min_p_drops_what_is_less_likely_than_a_share_of_the_most_likely() -> None:
    logits = torch.tensor([[0.5, 0.26, 0.2, 0.04]]).log()
    assert torch.isfinite(restrict(logits, SamplingParams(min_p=0.5))).tolist() == [[True, True, False, False]]
    assert torch.isfinite(restrict(logits, SamplingParams(min_p=0.09))).tolist() == [[True, True, True, False]]


def test_choose_never_takes_what_cannot_be() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    for uniform in (0.0, 0.25, 0.5, 0.75, 1 - 1e-12):
        token, _ = choose(logits, SamplingParams(temperature=1.0), torch.tensor([uniform]))
        assert token.item() in (1, 3)


def test_restrict_keeps_top_k_and_the_token_that_crosses_top_p() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    top2 = restrict(logits, SamplingParams(top_k=2))
    assert torch.isfinite(top2).tolist() == [[False, True, False, True]]
    nucleus = restrict(logits, SamplingParams(top_p=0.75))
    assert torch.isfinite(nucleus).tolist() == [[False, True, True, True]]
    assert torch.isfinite(restrict(logits, SamplingParams(top_p=0.35))).tolist() == [[False, True, False, False]]


def test_what_the_decoder_cannot_do_exactly_is_refused(make_model: MakeModel, tokenizer: Any) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": END, "pad_token_id": 0}
    windowed = MistralForCausalLM(MistralConfig(**sizes, **ends, sliding_window=24)).eval()
    prompts = some_prompts(0, own=(3, 4))
    assert Decoder(windowed, tokenizer).complete(prompts, [[0], [0]], GREEDY)  # 4 + 20 tokens: just inside
    with pytest.raises(ModelError, match="window of 24 tokens and a row is 25 long"):
        Decoder(windowed, tokenizer).complete(some_prompts(0, own=(3, 5)), [[0], [0]], GREEDY)
    with pytest.raises(ModelError, match=r"GPT2LMHeadModel has 512 positions .* takes 520"):
        Decoder(make_model("gpt2"), tokenizer).complete(some_prompts(0, own=(500,)), [[0]], GREEDY)
    query = torch.zeros(1, 4, 1, 8)
    with pytest.raises(ModelError, match="softcap"):
        level_attention(torch.nn.Identity(), query, query, query, None, shared=Shared(), softcap=30.0)
