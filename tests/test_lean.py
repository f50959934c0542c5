"""Lean layers: the same loss and gradients with less kept for the backward pass; what is not known stays as it is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakeModel
from test_train import config, some_examples
from test_train import run as train
from test_tree import ROWS, batch_of, gradients

from scotd.forward import ATTENTION, attention_of, head_is_plain, tree_loss
from scotd.layers import lean_forwards
from scotd.layers import lean_layers as layers_by

Layers = Callable[[Any], AbstractContextManager[None]]


@pytest.fixture(params=["llama", "qwen2", "gemma"])
def model(request: pytest.FixtureRequest, make_model: MakeModel) -> Any:
    """Gemma's norms are scaled by one more than their weight, and its activation is not SiLU."""
    made = make_model(request.param)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if request.param == "gemma" and "norm" in name:
                parameter.add_(0.1)  # they begin at zero
    return made


def changed(model: Any) -> list[str]:
    """Which modules, linear layers apart, compute in another way; of those all or none do."""
    names = sorted(type(module).__name__ for module in model.modules() if "forward" in vars(module))
    others = [name for name in names if name != "Linear"]
    assert len(names) - len(others) in {0, 14}  # seven in each of two layers, and not the head
    return others


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


def lean_layers(model: Any) -> AbstractContextManager[None]:
    return layers_by(lean_forwards(model))


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


def kept(model: Any, layers: Layers) -> list[torch.Tensor]:
    """What a forward pass keeps for its backward pass besides the weights themselves."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    plain, held = head_is_plain(model), dict[int, torch.Tensor]()

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that its place is not taken by another
        return tensor

    with (
        attention_of(model, ATTENTION),
        layers(model),
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        tree_loss(model, batch_of(ROWS), plain_head=plain)
    return list(held.values())


def test_less_is_kept_for_the_backward_pass_and_no_narrow_weight(model: Any) -> None:
    own, lean = kept(model, untouched), kept(model, lean_layers)
    shapes = {shape for weight in model.parameters() if weight.dim() == 2 for shape in (weight.shape, weight.T.shape)}

    def weights(found: list[torch.Tensor]) -> list[torch.Tensor]:
        return [one for one in found if one.dtype == torch.bfloat16 and one.shape in shapes]

    def others(found: list[torch.Tensor]) -> int:
        return sum(one.untyped_storage().nbytes() for one in found) - sum(one.nbytes for one in weights(found))

    assert len(weights(own)) - len(weights(lean)) == 14
    assert others(lean) < 0.8 * others(own)


def test_frozen_weights_get_no_gradient(make_model: MakeModel) -> None:
    model = make_model("llama").double()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("q_proj" in name)
    expected, found = loss_and_gradients(model, untouched), loss_and_gradients(model, lean_layers)
    assert set(found) == {"loss", *(name for name, _ in model.named_parameters() if "q_proj" in name)}
    assert_close(found, expected)


def doubled(module: Any, states: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(2 * type(module).mro()[1].forward(module, states))  # type: ignore[attr-defined]


def root_plus_epsilon(module: Any, states: torch.Tensor) -> torch.Tensor:
    """Nearly the same but for states that are nearly zero."""
    root = states.pow(2).mean(-1, keepdim=True).sqrt() + module.variance_epsilon**0.5
    return torch.as_tensor(module.weight * states / root)


def clamped(module: Any, states: torch.Tensor) -> torch.Tensor:
    """The same but for great products."""
    gate, up = module.gate_proj(states).clamp(max=10), module.up_proj(states).clamp(-10, 10)
    return torch.as_tensor(module.down_proj(module.act_fn(gate) * up))


def of_another_shape(module: Any, states: torch.Tensor) -> torch.Tensor:
    raise ValueError("not enough values to unpack")


@pytest.mark.parametrize(
    ("place", "forward"),
    [
        ("input_layernorm", doubled),
        ("input_layernorm", root_plus_epsilon),
        ("mlp", clamped),
        ("mlp", of_another_shape),
    ],
)
def test_what_computes_something_else_is_left_alone(place: str, forward: Any, make_model: MakeModel) -> None:
    model = make_model("llama")
    module = getattr(model.model.layers[0], place)
    module.__class__ = type(f"Odd{type(module).__name__}", (type(module),), {"forward": forward})
    with lean_layers(model):
        assert "forward" not in vars(module) and len(changed(model)) == 5


def test_norms_that_only_start_alike_are_left_alone(make_model: MakeModel) -> None:
    model = make_model("llama")
    norm = model.model.layers[0].input_layernorm
    own = type(norm).forward
    with torch.no_grad():
        norm.weight.fill_(1.0)
    squared = {"forward": lambda self, states: own(self, states) * self.weight}
    norm.__class__ = type("SquaredRMSNorm", (type(norm),), squared)
    assert norm not in [module for module, _ in lean_forwards(model)]


def test_an_activation_that_learns_is_left_alone(make_model: MakeModel) -> None:
    model = make_model("llama")
    mlp = model.model.layers[0].mlp
    mlp.act_fn = torch.nn.PReLU()
    assert mlp not in [module for module, _ in lean_forwards(model)]


def test_what_is_not_known_stays_as_it_is(make_model: MakeModel) -> None:
    assert lean_forwards(make_model("gpt2")) == []
    assert {type(module) for module, _ in lean_forwards(make_model("opt"))} == {torch.nn.Linear}


@pytest.mark.parametrize("trained", ["all", "q_proj", "bias"])
def test_products_in_autocast_give_the_gradients_of_its_own(trained: str, make_model: MakeModel) -> None:
    """OPT's, which have biases; with some weights frozen no more is kept than by autocast itself."""
    model = make_model("opt")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained == "all" or trained in name)
    own, lean = (loss_and_gradients(model, layers, torch.bfloat16) for layers in (untouched, lean_layers))
    assert own.keys() == lean.keys() and len(own) > 4
    for name, expected in own.items():
        torch.testing.assert_close(lean[name], expected, rtol=1e-6, atol=1e-6, msg=name)
    sizes = [sum(one.untyped_storage().nbytes() for one in kept(model, layers)) for layers in (untouched, lean_layers)]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_training_steps_are_lean_and_the_dev_metric_finds_the_model_as_it_is(
    compiled: bool, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_steps, in_metric = [], []

    def watched(model: Any, *args: Any, **options: Any) -> torch.Tensor:
        in_steps.append(len(changed(model)))
        return tree_loss(model, *args, **options)

    def metric(model: Any) -> float:
        in_metric.append(changed(model))
        return 0.0

    monkeypatch.setattr("scotd.train.tree_loss", watched)
    monkeypatch.setattr("scotd.train.compiled_layers", untouched)
    train(make_model("llama"), some_examples(), config(evaluations=2, compile=compiled), tmp_path, dev_metric=metric)
    assert set(in_steps) == {0 if compiled else 6}
    assert in_metric and not any("LlamaMLP" in names for names in in_metric)
