"""Lean layers: the same loss and gradients with less kept for the backward pass; what is not known stays as it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from conftest import VOCABULARY, MakeModel
from test_tree import ROWS, batch_of, gradients
from transformers import AutoModelForCausalLM, GemmaConfig

from scotd.forward import ATTENTION, attention_of, head_is_plain, tree_loss
from scotd.layers import lean_layers

Layers = Callable[[Any], AbstractContextManager[None]]


def gemma() -> Any:
    """Norms scaled by one more than their weight, and an activation that is not SiLU."""
    torch.manual_seed(0)
    config = GemmaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1) if "norm" in name else parameter.mul_(3)
    return model.eval()


@pytest.fixture(params=["llama", "qwen2", "gemma"])
def model(request: pytest.FixtureRequest, make_model: MakeModel) -> Any:
    return gemma() if request.param == "gemma" else make_model(request.param)


def changed(model: Any) -> list[str]:
    return sorted(type(module).__name__ for module in model.modules() if "forward" in vars(module))


def loss_and_gradients(model: Any, layers: Layers, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    plain = head_is_plain(model)
    with attention_of(model, ATTENTION), layers(model), torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = tree_loss(model, batch_of(ROWS), plain_head=plain)
    loss.backward()
    return {"loss": loss.detach(), **gradients(model)}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """To float32's rounding: transformers computes these norms in float32 whatever the weights are."""
    assert found.keys() == expected.keys()
    largest = max(one.abs().max().item() for one in expected.values())
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=0, atol=1e-6 * largest, msg=name)


def untouched(model: Any) -> AbstractContextManager[None]:
    return nullcontext()


def test_lean_layers_give_the_same_loss_and_gradients_and_are_taken_off_again(model: Any) -> None:
    with lean_layers(model):
        assert len(changed(model)) == 6, changed(model)  # two norms and an MLP in each of two layers
    assert changed(model) == []
    model = model.double()
    expected, found = loss_and_gradients(model, untouched), loss_and_gradients(model, lean_layers)
    assert len(expected) > 10
    assert_close(found, expected)


def test_in_autocast_they_come_as_near_to_float32_as_the_models_own(model: Any) -> None:
    exact = loss_and_gradients(model, untouched)
    own, lean = (loss_and_gradients(model, layers, torch.bfloat16) for layers in (untouched, lean_layers))

    def distance(found: dict[str, torch.Tensor]) -> float:
        return max(float((found[name] - one).norm() / one.norm()) for name, one in exact.items())

    assert 0 < distance(lean) < 1.3 * distance(own)


def test_less_is_kept_for_the_backward_pass(model: Any) -> None:
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def kept(layers: Layers) -> int:
        plain, held = head_is_plain(model), dict[int, int]()
        alive: list[torch.Tensor] = []

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                held[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)  # its place must not be taken by another
            return tensor

        with (
            attention_of(model, ATTENTION),
            layers(model),
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            tree_loss(model, batch_of(ROWS), plain_head=plain)
        return sum(held.values())

    assert kept(lean_layers) < 0.8 * kept(untouched)


def test_frozen_weights_get_no_gradient(make_model: MakeModel) -> None:
    model = make_model("llama").double()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("q_proj" in name)
    expected, found = loss_and_gradients(model, untouched), loss_and_gradients(model, lean_layers)
    assert set(found) == {"loss", *(name for name, _ in model.named_parameters() if "q_proj" in name)}
    assert_close(found, expected)


def test_what_computes_something_else_is_left_alone(make_model: MakeModel) -> None:
    model = make_model("llama")
    layer = model.model.layers[0]
    norm, mlp = layer.input_layernorm, layer.mlp
    of_norm, of_mlp = type(norm).forward, type(mlp).forward
    norm.__class__ = type("DoubledRMSNorm", (type(norm),), {"forward": lambda self, x: 2 * of_norm(self, x)})
    mlp.__class__ = type("ClampedMLP", (type(mlp),), {"forward": lambda self, x: of_mlp(self, x).clamp(max=0.01)})
    with lean_layers(model):
        assert changed(model) == ["LlamaMLP", "LlamaRMSNorm", "LlamaRMSNorm", "LlamaRMSNorm"]
    for kind in ("opt", "gpt2"):
        other = make_model(kind)
        with lean_layers(other):
            assert changed(other) == []
