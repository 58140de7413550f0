"""What all layers share: checking what comes in, and the two marginals of a weighted layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from torch_gbp.autocast import promoted
from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.errors.checks import (
    name_of,
    require_factory,
    require_moments,
    require_values,
)
from torch_gbp.errors.renamed import renamed
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.standardise import warn_unless_standard
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior, require_covariance, require_prior

Belief = Gaussian | Tensor
STORED_PRECISIONS = (3, 5)  # where a weighted rule takes the variances of weights and biases


factor_arguments = renamed(
    noise="a GBPNoise({}) behind the layer",
    activation_sigma="a GBPNoise(prior_sigma={}) behind the layer",
    activation="the activation as a layer behind this one, and a GBPNoise behind both; iterated inference makes them one factor",
    linearise='Inference(approximation="linearised") for True',
    joint='covariance="full" for True',
    exchange="Inference(exchange={})",
)
"""Decorator: arguments that are layers of their own, or the inference's, raise InvalidInput, with the new spelling."""


class FactorLayer(nn.Module):
    """A layer that is a factor: it maps a belief to a belief, and in a means sweep a tensor to a tensor."""

    def forward(self, input: Belief) -> Gaussian | Tensor:
        return self.at_means(input) if passes.means() else self.carried(input)

    def carried(self, input: Belief) -> Gaussian:
        """The belief of the output, in a sweep of moments."""
        raise NotImplementedError

    def at_means(self, input: Belief) -> Tensor:
        """The layer's plain function of a tensor, at the means of its weights.

        Raises:
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
        return self.plain(input)

    def plain(self, input: Tensor) -> Tensor:
        """The layer's function at the means of its weights."""
        raise MissingRule(f"{type(self).__name__} has no plain function", where="means_sweep", fix="leave means_sweep() out")


class GaussianLayer(FactorLayer):
    """A layer without weights: maps a belief to a belief through one rule."""

    def accept(self, belief: Belief, dims: tuple[int, ...]) -> Gaussian:
        """Checks the number of axes; an observed tensor becomes a belief with variance 0."""
        mean, variance = split(belief, self, dims)
        return Gaussian(mean, torch.zeros_like(mean) if variance is None else variance)


class ActivationLayer(GaussianLayer):
    """A layer that acts entry by entry, by a rule without weights."""

    rule: Rule
    linearised: Rule  # to first order at the mean
    exact: Rule | None = None  # exact messages both ways; None takes the rule
    options: Any = None  # of its rules; `learn` is False where no backward sweep will come

    def carried(self, input: Belief) -> Gaussian:
        options = self.options._replace(learn=torch.is_grad_enabled())
        return Gaussian(*factor(self.form)(options, *self.accept(input, tuple(range(9)))))

    @property
    def form(self) -> Rule:
        """The rule of the sweep under way."""
        return self.linearised if passes.linearised() else self.rule


class WeightedLayer(FactorLayer):
    """A layer with Gaussian weights and biases; `bias` is None without one."""

    weight: GaussianParameter
    bias: GaussianParameter | None
    options: Any = None  # of its rule
    exact: Rule | None = None  # exact scalar messages, where there are any
    has_full = False  # whether there is a full covariance of its weights
    full = False  # whether iterated inference takes the covariance of weights into account
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
        prior, self.full = require_prior(prior, where), covariance in ("full", "shared_full")
        self.shared_precision = require_covariance(covariance, where, full=self.has_full)
        self.weight = GaussianParameter(shape, prior.resolved(*fans), device, dtype, self.shared_precision)
        self.bias = GaussianParameter((outputs or shape[0],), prior.of_bias(), device, dtype) if bias else None

    def rule(self, linearised: bool = False) -> Rule:
        """The layer's rule: moments matched, or linearised at the means."""
        raise NotImplementedError

    def known_weights(self) -> tuple[Tensor, Tensor | None]:
        """Means of the weights and of the biases, for a means sweep."""
        weight, _, bias, _ = self.marginals()
        assert weight is not None
        return weight, bias

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

    def copy_weights(self, source: nn.Linear | nn.Conv2d, as_prior: bool) -> None:
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
