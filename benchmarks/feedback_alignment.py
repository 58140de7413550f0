"""Feedback alignment: the backward pass goes through fixed random weights in place of the layer's own."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.grad import conv2d_input, conv2d_weight


class _Linear(Function):
    """y = x W' whose gradient in x is g B instead of g W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, fixed: Tensor) -> Tensor:
        ctx.save_for_backward(x, fixed)
        return F.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, fixed = ctx.saved_tensors
        return gradients[0] @ fixed, gradients[0].flatten(0, -2).T @ x.flatten(0, -2), None


class _Convolution(Function):
    """y = W * x whose gradient in x is that of the kernel B instead of W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, fixed: Tensor, options: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x, fixed)
        ctx.options = options
        return F.conv2d(x, weight, None, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, fixed = ctx.saved_tensors
        into = conv2d_input(x.shape, fixed, gradients[0], *ctx.options) if ctx.needs_input_grad[0] else None
        return into, conv2d_weight(x, fixed.shape, gradients[0], *ctx.options), None, None


class AlignedLinear(nn.Linear):
    """nn.Linear with a fixed random weight for the backward pass."""

    fixed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = _Linear.apply(input, self.weight, self.fixed)  # type: ignore[assignment]
        return output if self.bias is None else output + self.bias


class AlignedConv2d(nn.Conv2d):
    """nn.Conv2d with a fixed random kernel for the backward pass; zero padding."""

    fixed: Tensor

    def forward(self, input: Tensor) -> Tensor:
        options = (self.stride, self.padding, self.dilation, self.groups)
        output: Tensor = _Convolution.apply(input, self.weight, self.fixed, options)  # type: ignore[assignment]
        return output if self.bias is None else output + self.bias[:, None, None]


_TWINS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: AlignedLinear, nn.Conv2d: AlignedConv2d}


def feedback_aligned(network: nn.Module) -> nn.Module:
    """A copy of the network whose linear and convolutional layers hand back gradients through fixed random weights.

    The fixed weights are uniform after Kaiming, as in the block-local learning paper (section 3). Batch norm and
    activations keep their own gradients. Source: Lillicrap et al. 2014.

    >>> aligned = feedback_aligned(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> type(aligned[0]).__name__, aligned[0].fixed.shape
    ('AlignedLinear', torch.Size([2, 3]))
    """
    network = copy.deepcopy(network)
    for module in network.modules():
        twin = _TWINS.get(type(module))
        if twin is not None:
            module.__class__ = twin
            assert isinstance(module.weight, Tensor)
            fixed = torch.empty_like(module.weight, requires_grad=False)
            module.register_buffer("fixed", nn.init.kaiming_uniform_(fixed, nonlinearity="relu"))
    return network
