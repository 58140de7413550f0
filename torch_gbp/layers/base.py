"""What all layers share: the two sweeps that they take part in, and the two marginals of a weighted layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors import InvalidInput, MissingRule
from torch_gbp.errors.checks import name_of, require_factory
from torch_gbp.errors.renamed import renamed
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.incoming import Belief, split
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior, require_covariance, require_prior

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


@contextmanager
def weights_known() -> Iterator[None]:
    """Inside, layers of beliefs take their means for the weights and give tensors, by what torch's transforms can follow."""
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # torch's transforms cannot follow it
        with passes.unchecked_means_sweep():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class FactorLayer(nn.Module):
    """A layer that is a factor: it maps a belief to a belief, and in a means sweep a tensor to a tensor."""

    twin: type[nn.Module] | None = None  # the torch layer that `from_torch` makes this one of
    replaces: tuple[str, ...] = ()  # functions of torch in whose place errors name this layer
    noiseless: bool = False  # whether known weights and inputs leave its output known, as `plain` says

    def forward(self, input: Belief) -> Gaussian | Tensor:
        return self.at_means(input) if passes.means() else self.carried(input)

    def carried(self, input: Belief) -> Gaussian:
        """The belief of the output, in a sweep of moments."""
        raise NotImplementedError

    def at_means(self, input: Belief) -> Tensor:
        """The layer's plain function of a tensor, at the means of its weights; checked, unless torch's transforms look on."""
        return self.plain(self.require_tensor(input) if passes.checked() else input)  # type: ignore[arg-type]

    def require_tensor(self, input: Belief) -> Tensor:
        """What comes in during a means sweep.

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
        return input

    def plain(self, input: Tensor) -> Tensor:
        """The layer's function at the means of its weights: torch's functions alone, without a look at any number."""
        raise MissingRule(f"{type(self).__name__} has no plain function", where="means_sweep", fix="leave means_sweep() out")

    @property
    def traceable(self) -> bool:
        """Whether `plain` is all that it does to known inputs by known weights; a forward of the user's own may do more."""
        return self.noiseless and type(self).forward is FactorLayer.forward and "forward" not in self.__dict__


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
    noiseless = True
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
    noiseless = True
    options: Any = None  # of its rule
    exact: Rule | None = None  # exact scalar messages, where there are any
    has_full = False  # whether there is a full covariance of its weights
    full = False  # whether iterated inference takes the covariance of weights into account
    checked_scale = False  # whether the first training inputs were looked at (incoming.py)

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
        """Means of the weights and of the biases."""
        return self.weight.mean, None if self.bias is None else self.bias.mean

    def received(self, input: Belief) -> tuple[Tensor, Tensor | None]:
        """Mean and variance of what comes in, checked (variance None for an observed tensor)."""
        return split(input, self, tuple(range(9)))

    def require_tensor(self, input: Belief) -> Tensor:
        mean, _ = self.received(super().require_tensor(input))
        self.check_writes()
        return mean

    def check_writes(self) -> None:
        """Raises ForeignUpdate if somebody other than message passing wrote to a marginal."""
        self.weight.check_writes()
        if self.bias is not None:
            self.bias.check_writes()

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
        self.check_writes()
        weight, bias = self.weight, self.bias
        if bias is None:
            return weight.mean, weight.precision, None, None
        return weight.mean, weight.precision, bias.mean, bias.precision

    def copy_weights(self, source: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, as_prior: bool) -> None:
        """Starts from a torch layer's weights; with `as_prior` they are the prior mean as well."""
        for own, theirs in ((self.weight, self.turned(source.weight)), (self.bias, source.bias)):
            if own is not None and theirs is not None:
                own.set_prior_mean(theirs) if as_prior else own.mean.data.copy_(theirs.detach())

    @torch.no_grad()
    def torch_layer(self, *sizes: Any, **options: Any) -> nn.Module:
        """The torch layer of these sizes and options at the means of weights and biases; what is frozen stays so."""
        mean, make = self.weight.mean, cast(Any, self.twin)
        layer = make(*sizes, bias=self.bias is not None, device=mean.device, dtype=mean.dtype, **options)
        for own, theirs in ((self.weight, layer.weight), (self.bias, layer.bias)):
            if own is not None:
                theirs.copy_(self.turned(own.mean) if own is self.weight else own.mean).requires_grad_(own.mean.requires_grad)
        return layer

    def turned(self, weight: Tensor) -> Tensor:
        """Torch's weights with the axes in the order of the marginal, or the marginal's in torch's."""
        return weight
