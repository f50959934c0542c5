"""Other ways for a model's layers to compute the same in training.

    forwards = lean_forwards(model)     # once
    with lean_layers(forwards):         # less is kept for the backward pass, at next to no cost of time
    with compiled_layers(model):        # torch.compile, which does that and more by itself

E hidden size, F size between an MLP's products, I and O sizes of a product's input and output.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.nn.functional import linear
from transformers.modeling_layers import GradientCheckpointingLayer

from scotd.device import product_dtype
from scotd.errors import ModelError

Forward = Callable[[Tensor], Tensor]
Forwards = list[tuple[Module, Forward]]

_PROBES = (1e-4, 1.0, 1e3)  # sizes of numbers: what is added to a small one or cut off a large one shows


def _layers(model: Any) -> list[Module]:
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def lean_forwards(model: Any) -> Forwards:
    """The modules of a model's layers that can keep less for the backward pass where that is cheap, each with a forward
    that does: norms keep their input and not what they make of it on the way, gated MLPs both products and not what is
    made of them, products in autocast no narrow copy of their weights.

    Only torch's own linear layer, and what is known by its parts and found on a probe to compute what is expected, is
    among them.
    """
    found = []
    for module in (inner for layer in _layers(model) for inner in layer.modules()):
        forward = _lean_norm(module) or _lean_gate(module) or _lean_product(module)
        if forward is not None:
            found.append((module, forward))
    return found


@contextmanager
def lean_layers(forwards: Forwards) -> Iterator[None]:
    """Let modules compute by other forwards. For a step of training alone, its backward pass included: a copy of the
    model that is made meanwhile would compute with the original's weights."""
    with ExitStack() as stack:
        for module, forward in forwards:
            stack.enter_context(patch.object(module, "forward", forward))
        yield


def _agree(lean: Forward, own: Forward, size: int, like: Tensor) -> bool:
    """Whether two forwards give the same for numbers of all sizes; what fails on them does not."""
    signs = torch.linspace(-1, 2, 2 * size, device=like.device, dtype=like.dtype).view(1, 2, size)
    try:
        with torch.no_grad():
            return all(torch.allclose(lean(signs * scale), own(signs * scale), rtol=1e-5) for scale in _PROBES)
    except Exception:  # a module that takes or gives something else, in whatever way it says so
        return False


def _lean_norm(module: Module) -> Forward | None:
    """The forward of a root mean square norm, scaled by its weight or by one more than it; None for anything else.

    In autocast its result is narrow at once, for it goes into products. What comes in another dtype than the weight's
    goes the module's own way: there models differ in where they round.
    """
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    names = [name for name, _ in module.named_parameters()]
    if not type(module).__name__.endswith("RMSNorm") or names != ["weight"] or not isinstance(epsilon, float):
        return None
    own, held = module.forward, module.get_parameter("weight")
    # Weights of a norm are often all one, or zero: others tell what is done with them.
    others = held.detach() + torch.linspace(0.5, 1.5, held.numel(), device=held.device, dtype=held.dtype).view_as(held)

    def own_with_others(states: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(module, {"weight": others}, (states,))
        return found

    def lean(states: Tensor, weight: Tensor, more: int, dtype: torch.dtype) -> Tensor:
        found: Tensor = RootMeanSquare.apply(states, weight, more, epsilon, dtype)
        return found

    def fits(more: int) -> bool:
        return _agree(lambda states: lean(states, others, more, states.dtype), own_with_others, len(held), held)

    fitting = [more for more in (0, 1) if fits(more)]
    if not fitting:
        return None

    def forward(states: Tensor) -> Tensor:
        weight = module.get_parameter("weight")
        if states.dtype != weight.dtype:
            found: Tensor = own(states)
            return found
        return lean(states, weight, fitting[0], product_dtype(states))

    return forward


class RootMeanSquare(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon), times weight + more: x (..., E), weight (E,). Computed in float32 or better, given
    in a dtype of choice. It keeps x and one number a row."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd's positional signature
        ctx: Any, states: Tensor, weight: Tensor, more: int, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        wide = states.to(torch.promote_types(states.dtype, torch.float32))
        squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        scale = squares.div_(wide.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(states, weight, scale)
        ctx.more = more
        normed: Tensor = (wide * scale).mul_(weight.to(wide.dtype) + more)
        return normed.to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, scale = ctx.saved_tensors
        factor = weight.to(scale.dtype) + ctx.more
        gradient, normed = gradient.to(scale.dtype), states * scale
        product = gradient * normed
        along = (product @ factor).unsqueeze(-1).div_(-states.shape[-1])
        flat = product.flatten(0, -2)
        for_weight = (flat.new_ones(len(flat)) @ flat).to(weight.dtype)
        for_states: Tensor = torch.mul(gradient, factor, out=product).addcmul_(normed, along).mul_(scale)
        return for_states.to(states.dtype), for_weight, None, None, None


def _lean_product(module: Module) -> Forward | None:
    """The forward of a linear layer, another one than its own in autocast; None for anything else."""
    if type(module) is not Linear or "forward" in vars(module):
        return None
    own = module.forward

    def forward(states: Tensor) -> Tensor:
        weight = module.weight
        whole = type(weight) is Parameter and weight.dtype != torch.float64  # autocast leaves float64 as it is
        if not whole or not torch.is_autocast_enabled(states.device.type):
            return own(states)
        found: Tensor = Product.apply(states.to(product_dtype(states)), weight, module.bias)
        return found

    return forward


class Product(torch.autograd.Function):
    """x @ weight.T + bias in the dtype of x: x (..., I), weight (O, I), bias (O,) or None. Of x and the weight it keeps
    what the other one's gradient asks for, the weight as it is, which is there anyway: it is made narrow once more."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_states, wants_weight = ctx.needs_input_grad[:2]
        ctx.save_for_backward(states if wants_weight else None, weight if wants_states else None)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        return linear(states, weight.to(states.dtype), None if bias is None else bias.to(states.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        of_weight, of_bias = ctx.dtypes
        return (
            None if weight is None else gradient @ weight.to(gradient.dtype),
            None if states is None else _summed(gradient, states).to(of_weight),
            gradient.flatten(0, -2).sum(0).to(of_bias) if ctx.needs_input_grad[2] else None,
        )


def _summed(gradient: Tensor, states: Tensor) -> Tensor:
    """The gradient (O, I) of a weight from those of its products (..., O) and what it was multiplied with (..., I)."""
    return gradient.flatten(0, -2).T @ states.flatten(0, -2)


def _lean_gate(module: Any) -> Forward | None:
    """The forward of an MLP down(act(gate(x)) * up(x)); None for anything else."""
    names = ("gate_proj", "up_proj", "down_proj", "act_fn")
    if not all(callable(getattr(module, name, None)) for name in names):
        return None
    down, gate_proj, act = module.down_proj, module.gate_proj, module.act_fn
    if type(down) is not Linear or getattr(down, "bias", None) is not None or not hasattr(gate_proj, "in_features"):
        return None
    if isinstance(act, Module) and next(act.parameters(), None) is not None:
        return None  # an activation that learns
    own = module.forward

    def forward(states: Tensor) -> Tensor:
        if type(module.down_proj.weight) is not Parameter:  # a part of it: its own forward puts it together
            found: Tensor = own(states)
            return found
        gate, up = module.gate_proj(states), module.up_proj(states)
        product: Tensor = Gated.apply(gate, up, module.down_proj.weight, act)
        return product

    return forward if _agree(forward, own, gate_proj.in_features, down.weight) else None


class Gated(torch.autograd.Function):
    """(act(gate) * up) @ weight.T: gate and up (..., F), weight (E, F). It keeps these three, and computes the rest
    again for its gradients."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        ctx.act = act
        return linear(act(gate) * up, weight.to(gate.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        with torch.enable_grad():
            leaf = gate.detach().requires_grad_()
            opened = ctx.act(leaf)
        held = opened.detach() * up
        for_weight = _summed(gradient, held).to(weight.dtype) if ctx.needs_input_grad[2] else None
        for_held = gradient @ weight.to(gradient.dtype)
        for_up = torch.mul(for_held, opened.detach(), out=held)
        (for_gate,) = torch.autograd.grad(opened, leaf, for_held.mul_(up))
        return for_gate, for_up, for_weight, None


@contextmanager
def compiled_layers(model: Any) -> Iterator[None]:
    """Let torch.compile take each layer of a model, for lengths of any kind. Raises ModelError where it cannot."""
    layers = _layers(model)
    for layer in layers:
        layer.compile(dynamic=True)
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"training.compile: torch.compile cannot do {type(model).__name__} here ({reason}). It needs a C++ "
            "compiler, on a GPU Triton; training without it is the same, only slower."
        ) from error
    finally:
        for layer in layers:
            layer._compiled_call_impl = None
