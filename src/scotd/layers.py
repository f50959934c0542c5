"""Other ways for a model's layers to compute the same in training.

    with lean_layers(model):        # keeps about half as much for the backward pass, at no cost of time
    with compiled_layers(model):    # torch.compile, which does that and more by itself

E hidden size, F size between an MLP's products.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.modeling_layers import GradientCheckpointingLayer

from scotd.errors import ModelError


@contextmanager
def lean_layers(model: Any) -> Iterator[None]:
    """Let a model's layers keep less for the backward pass where that is cheap: norms their input and not what they
    make of it on the way, gated MLPs both products and not what is made of them.

    Only what is known by its parts, and found on a probe to compute what is expected, is changed; all else stays.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    with ExitStack() as stack:
        for module in (inner for layer in layers for inner in layer.modules()):
            lean = _lean_norm(module) or _lean_gate(module)
            if lean is not None:
                stack.enter_context(patch.object(module, "forward", lean))
        yield


def _lean_norm(module: Any) -> Callable[[Tensor], Tensor] | None:
    """The forward of a root mean square norm, scaled by its weight or by one more than it; None for anything else.

    In autocast its result is narrow at once, for it goes into products. What comes in another dtype than the weight's
    goes the module's own way: there models differ in where they round.
    """
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    names = [name for name, _ in module.named_parameters()]
    if not type(module).__name__.endswith("RMSNorm") or names != ["weight"] or not isinstance(epsilon, float):
        return None
    own, weight = module.forward, module.weight
    probe = torch.linspace(-1, 2, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(2, -1)

    def lean(states: Tensor, more: int, dtype: torch.dtype) -> Tensor:
        found: Tensor = RootMeanSquare.apply(states, module.weight, more, epsilon, dtype)
        return found

    with torch.no_grad():
        expected = own(probe)
        fitting = [more for more in (0, 1) if torch.allclose(lean(probe, more, probe.dtype), expected, rtol=1e-5)]
    if not fitting:
        return None

    def forward(states: Tensor) -> Tensor:
        if states.dtype != module.weight.dtype:
            found: Tensor = own(states)
            return found
        device = states.device.type
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        return lean(states, fitting[0], narrow)

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


def _lean_gate(module: Any) -> Callable[[Tensor], Tensor] | None:
    """The forward of an MLP down(act(gate(x)) * up(x)); None for anything else."""
    names = ("gate_proj", "up_proj", "down_proj", "act_fn")
    if not all(callable(getattr(module, name, None)) for name in names):
        return None
    if type(module.down_proj) is not torch.nn.Linear or getattr(module.down_proj, "bias", None) is not None:
        return None

    def forward(states: Tensor) -> Tensor:
        gate, up = module.gate_proj(states), module.up_proj(states)
        found: Tensor = Gated.apply(gate, up, module.down_proj.weight.to(gate.dtype), module.act_fn)
        return found

    weight = module.down_proj.weight
    probe = torch.linspace(-1, 2, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(2, -1)
    with torch.no_grad():
        as_expected = torch.allclose(forward(probe), module.forward(probe), rtol=1e-5)
    return forward if as_expected else None


class Gated(torch.autograd.Function):
    """(act(gate) * up) @ weight.T: gate and up (..., F), weight (E, F). It keeps these three, and computes the rest
    again for its gradients."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        ctx.act = act
        return linear(act(gate) * up, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, weight = ctx.saved_tensors
        with torch.enable_grad():
            leaf = gate.detach().requires_grad_()
            opened = ctx.act(leaf)
        held = opened.detach() * up
        for_weight = gradient.flatten(0, -2).T @ held.flatten(0, -2) if ctx.needs_input_grad[2] else None
        for_held = gradient @ weight
        for_up = torch.mul(for_held, opened.detach(), out=held)
        (for_gate,) = torch.autograd.grad(opened, leaf, for_held.mul_(up))
        return for_gate, for_up, for_weight, None


@contextmanager
def compiled_layers(model: Any) -> Iterator[None]:
    """Let torch.compile take each layer of a model, for lengths of any kind. Raises ModelError where it cannot."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
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
