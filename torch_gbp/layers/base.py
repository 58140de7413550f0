"""What all layers share: checking what comes in, and the two marginals of a weighted layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.autocast import promoted
from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import factor
from torch_gbp.checks import (
    DEVIATION,
    DEVIATION_OR_0,
    name_of,
    require,
    require_factory,
    require_kind,
    require_moments,
    require_values,
)
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.factors import unary
from torch_gbp.factors.unary import UnaryOptions
from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.layers.standardise import warn_unless_standard
from torch_gbp.memory import NO_MEMORY, Memory
from torch_gbp.nodes import Bound, LinearNode, Node, WeightBelief
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior, require_covariance, require_prior

Belief = Gaussian | Tensor
STORED_PRECISIONS = (3, 5)  # where a weighted rule takes the variances of weights and biases


_UNARY = factor(unary.RULE)


class FactorLayer(nn.Module):
    """A layer whose factor may be noisy: output = rule(input) + N(0, noise^2), output ~ N(0, activation_sigma^2) a priori."""

    noise = 0.0
    activation_sigma: float | None = None

    def set_noise(self, noise: float, activation_sigma: float | None) -> None:
        """Standard deviations of the factor and of the unary prior of its output (None for none).

        Raises:
            InvalidInput: a noise that is negative, a prior deviation that is not positive, or one that is not finite.
        """
        where = type(self).__name__
        self.noise = require("noise", noise, DEVIATION_OR_0, where, fix="use noise=0.0 for an exact factor")
        if activation_sigma is not None:
            activation_sigma = require("activation_sigma", activation_sigma, DEVIATION, where, fix="use None for no prior")
        self.activation_sigma = activation_sigma

    def loosen(self, output: Gaussian) -> Gaussian:
        """The output through the noise and its prior, in a single sweep."""
        if not self.noise and self.activation_sigma is None:
            return output
        options = UnaryOptions(self.noise**2, 0.0 if self.activation_sigma is None else self.activation_sigma**-2)
        return Gaussian(*_UNARY(options, *output))

    def at_means(self, input: Belief) -> Tensor:
        """The layer's plain function of a tensor, at the means of its weights; the noise has mean 0.

        Raises:
            MissingRule: a prior of the output, which moves its mean by how uncertain it is.
            InvalidInput: a Gaussian.
        """
        if isinstance(input, Gaussian):
            raise InvalidInput(
                "a means sweep carries tensors",
                where=name_of(self),
                got="a Gaussian",
                cause="uncertain inputs",
                fix="leave means_sweep() out, or pass input.mean",
            )
        if self.activation_sigma is not None:
            raise MissingRule(
                "a prior of the output has no plain function",
                where=name_of(self),
                got=f"activation_sigma={self.activation_sigma}",
                fix="leave means_sweep() out",
            )
        return self.plain(input)

    def plain(self, input: Tensor) -> Tensor:
        """The layer's function at the means of its weights."""
        raise MissingRule(f"{type(self).__name__} has no plain function", where="means_sweep", fix="leave means_sweep() out")

    def activation_prior(self, like: Tensor | None = None) -> Message | None:
        """The unary prior of the output as a message, for `nodes`."""
        if self.activation_sigma is None:
            return None
        zero = torch.zeros(()) if like is None else like.new_zeros(())
        return Message(zero, zero + self.activation_sigma**-2)

    def node(self, learn: bool) -> Node:
        """The layer's factors for iterated inference on one batch (`FactorGraph`); `learn` is whether weights may move."""
        raise MissingRule(
            f"{type(self).__name__} has no factor node",
            where="FactorGraph",
            fix="use GBPLinear, GBPConv2d, GBPConvTranspose2d, GBPLeakyReLU, GBPMaxPool2d, GBPAvgPool2d, GBPUpsample",
        )


class GaussianLayer(FactorLayer):
    """A layer without weights: maps a belief to a belief through one rule."""

    memory: Memory = NO_MEMORY  # what it keeps between inner sweeps, see memory.py

    def accept(self, belief: Belief, dims: tuple[int, ...]) -> Gaussian:
        """Checks the number of axes; an observed tensor becomes a belief with variance 0."""
        mean, variance = split(belief, self, dims)
        return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)


class ActivationLayer(GaussianLayer):
    """A layer that acts entry by entry, and so can be inside another layer's factor."""

    def bound(self) -> Bound:
        """The rule with its options."""
        raise NotImplementedError


class WeightedLayer(FactorLayer):
    """A layer with Gaussian weights and biases; `bias` is None without one."""

    weight: GaussianParameter
    bias: GaussianParameter | None
    memory: Memory = NO_MEMORY  # what it keeps between inner sweeps, see memory.py
    checked_scale = False  # whether the first training inputs were looked at

    def make_marginals(
        self,
        shape: tuple[int, ...],
        fans: tuple[int, int],
        prior: Prior | None,
        covariance: Any,
        bias: bool,
        device: Any,
        dtype: Any,
        outputs: int | None = None,
    ) -> None:
        """Gives the layer its weights, of this shape, fan-in and fan-out, and its biases, one for each output.

        Raises:
            InvalidInput: no prior, covariance, device or dtype; a prior mean of another shape.
        """
        where = type(self).__name__
        require_factory(device, dtype, where)
        prior, self.shared_precision = require_prior(prior, where), require_covariance(covariance, where)
        self.weight = GaussianParameter(shape, prior.resolved(*fans), device, dtype, self.shared_precision)
        self.bias = GaussianParameter((outputs or shape[0],), prior.of_bias(), device, dtype) if bias else None

    activation: ActivationLayer | None  # inside the factor; no default, which would hide the module
    linearise = False

    def set_factor(
        self, noise: float, activation_sigma: float | None, activation: ActivationLayer | None, linearise: bool
    ) -> None:
        """Options of the factor y = activation(W a + b) + noise, see `set_noise`.

        Raises:
            InvalidInput: as `set_noise`; an activation that is no layer such as GBPLeakyReLU.
        """
        self.set_noise(noise, activation_sigma)
        require_kind("linearise", linearise, bool, type(self).__name__, fix="use True or False")
        if activation is not None:
            require_kind("activation", activation, ActivationLayer, type(self).__name__, fix="use GBPLeakyReLU(0.1), or None")
        self.activation, self.linearise = activation, linearise

    def known_weights(self) -> tuple[Tensor, Tensor | None]:
        """Means of the weights and of the biases, for a means sweep."""
        weight, _, bias, _ = self.marginals()
        assert weight is not None
        return weight, bias

    def activated(self, output: Tensor) -> Tensor:
        """The output through an activation inside the factor, in a means sweep."""
        return output if self.activation is None else self.activation.at_means(output)

    def finished(self, output: Gaussian) -> Gaussian:
        """What comes out of the factor in a single sweep: activation, noise, unary prior."""
        return self.loosen(output if self.activation is None else self.activation(output))

    def weight_beliefs(self, learn: bool) -> tuple[WeightBelief, ...]:
        """Weights, and biases if there are any, as they enter the visit to a batch."""
        learn = learn and self.weight.mean.requires_grad
        return tuple(WeightBelief(own, learn) for own in (self.weight, self.bias) if own is not None)

    def affine_node(self, affine: Bound, learn: bool) -> LinearNode:
        """The node of a layer with this affine rule."""
        activation = None if self.activation is None else self.activation.bound()
        prior = self.activation_prior(self.weight.mean)
        return LinearNode(affine, activation, self.weight_beliefs(learn), self.noise**2, prior)

    @property
    def weight_mean(self) -> Tensor:
        """Posterior mean of the weights."""
        return self.weight.mean

    @property
    def weight_variance(self) -> Tensor:
        """Posterior variance of the weights (1 / precision), detached."""
        return self.weight.belief().variance

    def reset_parameters(self) -> None:
        """Back to the prior with a fresh random start."""
        self.weight.reset_parameters()
        if self.bias is not None:
            self.bias.reset_parameters()

    def marginals(self) -> tuple[Tensor | None, ...]:
        """Mean and precision of the weights, then of the biases (None, None without), for a forward sweep."""
        weight, bias = self.weight, self.bias
        weight.check_writes()
        if bias is None:
            return weight.mean, weight.precision, None, None
        bias.check_writes()
        return weight.mean, weight.precision, bias.mean, bias.precision

    def adopt(self, source: nn.Linear | nn.Conv2d, as_prior: bool) -> None:
        """Starts from a torch layer's weights; with `as_prior` they are the prior mean as well."""
        for own, theirs in ((self.weight, source.weight), (self.bias, source.bias)):
            if own is not None and theirs is not None:
                own.set_prior_mean(theirs) if as_prior else own.mean.data.copy_(theirs.detach())


def split(belief: Belief, layer: nn.Module, dims: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Mean and variance of what comes in (variance None for an observed tensor), checked; under autocast in single precision.

    Raises:
        InvalidInput: not a floating tensor, an empty batch, NaN or Inf, a negative variance, or the wrong number of axes.
    """
    mean, variance = belief if isinstance(belief, Gaussian) else (belief, None)
    mean, variance = promoted(mean), promoted(variance)
    if isinstance(mean, Tensor):
        passes.entered(mean, variance)
    if variance is None:
        _check_observed(mean, layer)
        _check_scale(mean, layer)
    else:
        require_moments(mean, variance, layer)
    if mean.ndim not in dims:
        raise InvalidInput(
            f"expected {' or '.join(map(str, dims))} axes",
            where=name_of(layer),
            got=f"shape {tuple(mean.shape)}",
            cause="a missing batch axis, or no nn.Flatten before it",
            fix="add the batch axis with x[None], or flatten first",
        )
    return mean, variance


def require_features(size: int, expected: int, kind: str, layer: nn.Module) -> None:
    """Raises InvalidInput unless the feature or channel count is the layer's own."""
    if size != expected:
        raise InvalidInput(
            f"expected {expected} {kind}",
            where=name_of(layer),
            got=str(size),
            cause="the layer before it has another width, or the axes are in another order",
            fix=f"build the layer for {size} {kind} or permute the input",
        )


def _check_observed(x: Tensor, layer: nn.Module) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise InvalidInput(
            "inputs must be floating-point tensors or Gaussians",
            where=name_of(layer),
            got=str(getattr(x, "dtype", type(x).__name__)),
            cause="integer images (uint8)",
            fix="convert with x.float() / 255 and standardise",
        )
    if x.numel() == 0:
        raise InvalidInput(
            "the batch is empty",
            where=name_of(layer),
            got=f"shape {tuple(x.shape)}",
            cause="a filter or a split that left nothing",
            fix="skip empty batches",
        )
    require_values(x, layer)
    if not torch.compiler.is_compiling() and not math.isfinite(x.sum().item()) and not bool(x.isfinite().all()):
        bad = ~x.isfinite()
        raise InvalidInput(
            f"{int(bad.sum())} of {x.numel()} input values are NaN or Inf",
            where=name_of(layer),
            cause="missing values, or a feature with zero spread that was standardised",
            fix="impute or drop them before the network",
        )


def _check_scale(x: Tensor, layer: nn.Module) -> None:
    """Looks once, as training begins, whether a layer with weights reads inputs of the scale that its prior is for."""
    if isinstance(layer, WeightedLayer) and layer.training and torch.is_grad_enabled() and not layer.checked_scale:
        fix = "put gbp.Standardise() in front of the layer, or standardise the data"
        layer.checked_scale = warn_unless_standard(x, "the inputs", name_of(layer), fix)
