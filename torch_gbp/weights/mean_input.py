"""Mean inputs: by how much other weights move the mean of what a normalisation with running statistics receives.

In training such a normalisation takes out the mean of its batch, so nothing that moves all of a channel's values alike is ever
learnt about, or does any harm. Afterwards it takes out a running mean, which is that of the weights' means m. With weights w
before it the mean is another one:

    E[w x] = E[m x] + (w - m) E[x]

A network that is drawn from its marginals, and its derivatives in the weights, need that mean. E[x] is an average over training
examples (`renew_statistics`), at the means: what the layers before change in it is left out.
Source: Nagel et al. 2019, section 4.2 and appendix B, who correct biases of quantised weights by it; Maddox et al. 2019 make
the statistics of every drawn network anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Followed = dict[nn.Module, nn.Module]
"""Normalisation -> the layer whose output it receives as it is."""
Hear = Callable[[nn.Module, Tensor], None]


def running(module: nn.Module) -> TypeGuard[_NormBase]:
    """Whether a normalisation has running statistics."""
    return isinstance(module, _NormBase) and module.running_mean is not None


@contextmanager
def followed(model: nn.Module, hear: Hear | None = None) -> Iterator[Followed]:
    """Watches one pass inside, and afterwards knows which normalisations with running statistics follow a linear or convolution
    layer. What is called more than once in the pass is left out: it has several means.

    Args:
        hear: is told the inputs of every such layer.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.BatchNorm1d(3))
    >>> with followed(model) as found:
    ...     _ = model(torch.randn(4, 2))
    >>> found == {model[1]: model[0]}
    True
    """
    found, made, calls = Followed(), dict[int, tuple[Any, nn.Module]](), dict[nn.Module, int]()

    def after(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[layer] = calls.get(layer, 0) + 1
        if isinstance(output, Tensor) and output.ndim >= 2 and (output.ndim == 2 or not isinstance(layer, nn.Linear)):
            made[id(output)] = ref(output), layer
            if hear is not None:
                hear(layer, inputs[0])

    def before(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[norm] = calls.get(norm, 0) + 1
        output, layer = made.get(id(inputs[0]), (None, None))
        if layer is not None and output is not None and output() is inputs[0]:
            found[norm] = layer

    modules = list(model.modules())
    hooks = [module.register_forward_hook(after) for module in modules if _affine(module)]
    hooks += [module.register_forward_pre_hook(before) for module in modules if running(module)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        for norm, layer in list(found.items()):
            if calls[norm] > 1 or calls[layer] > 1:
                del found[norm]


class MeanInputs:
    """E[x] of every weight before a normalisation: averages over batches, each of which counts alike."""

    def __init__(self) -> None:
        self._found: dict[nn.Module, list[Tensor]] = {}

    @contextmanager
    def batch(self, model: nn.Module, norms: Sequence[nn.Module]) -> Iterator[None]:
        """Around the pass of one batch; for what precedes one of the normalisations."""
        heard: dict[nn.Module, Tensor] = {}
        with followed(model, lambda layer, x: heard.update({layer: x.detach().mean(0, keepdim=True)})) as pairs:
            yield
        for layer in {layer for norm, layer in pairs.items() if norm in norms}:
            self._found.setdefault(layer, []).append(of_weight(layer, heard[layer]))

    def averages(self) -> dict[nn.Module, Tensor]:
        """By layers, to be broadcast to the weight."""
        return {layer: torch.stack(found).mean(0) for layer, found in self._found.items()}


@torch.inference_mode(False)
@torch.enable_grad()
def of_weight(layer: nn.Module, x: Tensor) -> Tensor:
    """What each weight is multiplied by on average over examples and positions, from the mean of the inputs, (1, ...).

    It is the derivative of the mean output of its channel, so padding, strides and groups count. Channels that see the same
    inputs share a row.

    >>> layer = nn.Conv2d(1, 2, 2, bias=False)
    >>> of_weight(layer, torch.arange(4.0).reshape(1, 1, 2, 2))
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    held: Any = layer.weight
    x = x.to(held.dtype, copy=True)
    weight = x.new_zeros(held.shape).requires_grad_()  # it is the same at any weights
    with torch.autocast(x.device.type, enabled=False):
        out = F.linear(x, weight) if isinstance(layer, nn.Linear) else layer._conv_forward(x, weight, None)  # type: ignore[operator]
    found = torch.autograd.grad(out.flatten(2).mean(2).sum() if out.ndim > 2 else out.sum(), weight)[0]
    return found if getattr(layer, "groups", 1) > 1 else found[:1].clone()


def shift(weights: Tensor, means: Tensor, mean_input: Tensor) -> Tensor:
    """(w - m) E[x] of each output, (outputs,)."""
    return ((weights - means) * mean_input).reshape(len(means), -1).sum(1)


def _affine(module: nn.Module) -> bool:
    """Whether a module is one of torch's whose output is its weight times its inputs, output by output."""
    return isinstance(module, (nn.Linear, _ConvNd)) and not isinstance(module, _ConvTransposeNd)
