"""The predictive side of a likelihood: the distribution of a target, from what is known of the outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind, require_moments
from torch_gbp.gaussian import Gaussian
from torch_gbp.weights.loading import CheckedModule, Saved, require_all, require_saved

_NO_BELIEF = "gbp.predict(network, likelihood, x) is for any network; likelihood.known(outputs) for outputs without a variance"


class Predicting(CheckedModule):
    """p(target) from a belief of the outputs, from samples of them, or from their joint Gaussian.

    Two numbers, which `calibrate` sets, stand between the outputs and the prediction. `variance_factor` multiplies the variance
    of the outputs; what it began with (`usual_variance_factor`) makes up for the correlations that one pass of moments leaves
    out, so samples and joint Gaussians, which have them, take `spread` = variance_factor / usual_variance_factor. `temperature`
    divides the outputs of a likelihood of classes, on which only their differences bear. Training knows nothing of either.
    """

    classes = False  # True: the target is a class, and a constant added to all outputs of an example changes nothing
    variance_factor: Tensor  # buffers, set by `calibrate` or by hand
    temperature: Tensor | None

    def __init__(self, usual_variance_factor: float = 1.0) -> None:
        super().__init__()
        self.usual_variance_factor = usual_variance_factor
        self.register_buffer("variance_factor", torch.tensor(usual_variance_factor))
        self.register_buffer("temperature", torch.tensor(1.0) if self.classes else None)
        self.variable = ("temperature",) if self.classes else ()

    @property
    def spread(self) -> Tensor:
        """Factor on the variance of sampled outputs, and of their joint Gaussian."""
        return self.variance_factor / self.usual_variance_factor

    def distribution(self, output: Gaussian) -> Distribution:
        """Distribution of the target where the output is N(mean, variance)."""
        raise NotImplementedError

    def known(self, outputs: Tensor) -> Distribution:
        """Distribution of the target where the outputs (n, ...) are known.

        >>> import torch_gbp as gbp
        >>> gbp.Softmax().known(torch.zeros(1, 2)).probs
        tensor([[0.5000, 0.5000]])
        """
        return self.distribution(Gaussian(outputs, torch.zeros_like(outputs)))

    def variance_of_means(self, output: Gaussian) -> Tensor:
        """Variance of E[y | z] of real targets over z ~ N(mean, variance); here where that mean is affine in each output.

        >>> import torch_gbp as gbp
        >>> gbp.Regression(0.5).variance_of_means(Gaussian(torch.zeros(1), torch.tensor([4.0])))
        tensor([4.])
        """
        aside = output.mean + output.variance.sqrt()
        return (self.known(aside).mean - self.known(output.mean).mean).square()  # type: ignore[attr-defined]

    def predictive(self, output: Gaussian) -> Distribution:
        """Distribution of the target given the belief of the output, by `variance_factor` and `temperature`."""
        require_kind("output", output, Gaussian, f"{type(self).__name__}.predictive", fix=_NO_BELIEF)
        require_moments(*output, type(self).__name__)
        mean, variance = map(wide, output)
        return self.distribution(self.cooled(Gaussian(mean, variance * self.variance_factor)))

    def joint(self, mean: Tensor, covariance: Tensor) -> Distribution:
        """Distribution of the target where the outputs of an example are jointly N(mean, covariance), by `spread`.

        Real targets take the variances. Of classes only the differences of the outputs tell: with P = 1 - 11' / C the variances
        are those of P S P' times C / (C - 1), of which the sum is that of S where the outputs are independent.

        Args:
            mean: (n, ...).
            covariance: (n, k, k), k = number of outputs of an example.
        """
        _require_covariance(mean, covariance, type(self).__name__)
        variance = covariance.diagonal(dim1=-2, dim2=-1)
        if self.classes:
            count = max(2, covariance.shape[-1])
            centred = variance - 2 * covariance.mean(-1) + covariance.mean((-2, -1), keepdim=True)[..., 0]
            variance = centred.clamp_min(0) * (count / (count - 1))
        return self.distribution(self.cooled(Gaussian(mean, self.spread * variance.reshape(mean.shape))))

    def mixture(self, outputs: Tensor, centre: Tensor | None = None) -> Distribution:
        """Distribution of the target where the outputs are one of S samples, each as likely as the others.

        Classes: the average of the samples' probabilities. Real targets: a `MixtureSameFamily` for each of them, in their units.

        Args:
            outputs: (S, n, ...).
            centre: (n, ...), the outputs at the weights' means: distances from it are multiplied by the root of `spread`. None
                takes the samples as they are.

        >>> import torch_gbp as gbp
        >>> gbp.Regression(0.5).mixture(torch.tensor([[[1.0]], [[3.0]]])).variance  # 0.5 and the samples' own
        tensor([[1.5000]])
        """
        outputs = self.spread_out(outputs, centre)
        each = self.known(outputs.flatten(0, 1))
        if isinstance(each, Categorical):
            logits = each.logits.unflatten(0, outputs.shape[:2]).logsumexp(0)
            return Categorical(logits=logits, validate_args=validation())
        parts = _last(each, len(outputs))
        weights = Categorical(logits=torch.zeros_like(parts.mean), validate_args=validation())
        return MixtureSameFamily(weights, parts, validate_args=validation())

    def spread_out(self, outputs: Tensor, centre: Tensor | None = None) -> Tensor:
        """Samples (S, n, ...) as predictions take them: wider around the centre, and divided by the temperature.

        Raises:
            InvalidInput: no floating-point samples, or a centre of another shape.
        """
        _require_samples(outputs, centre, type(self).__name__)
        if centre is not None:
            outputs = centre + self.spread.sqrt() * (outputs - centre)
        return outputs if self.temperature is None else outputs / self.temperature

    def cooled(self, output: Gaussian) -> Gaussian:
        """The outputs divided by the temperature."""
        return output if self.temperature is None else output / self.temperature

    def check_saved(self, saved: Saved, prefix: str) -> None:
        """Raises InvalidInput unless the saved variance_factor, temperature and noise variance are positive and finite."""
        for name in ("variance_factor", "temperature", "noise_variance"):
            own = self._buffers.get(name)
            if own is not None and prefix + name in saved.state:
                value = require_saved(prefix + name, saved.state[prefix + name], own, saved.assign)
                require_all(prefix + name, value > 0, "positive", value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        name = prefix + "temperature"
        if self.temperature is not None and prefix + "variance_factor" in state_dict and name not in state_dict:
            state_dict = {**state_dict, name: torch.ones_like(self.temperature)}  # saved before there was one
        super()._load_from_state_dict(state_dict, prefix, *args)


def wide(values: Tensor) -> Tensor:
    """Outputs as likelihoods take them, never in half precision; what is no tensor of numbers stays for the checks."""
    half = isinstance(values, Tensor) and values.dtype in (torch.float16, torch.bfloat16)
    return values.float() if half else values


def validation() -> bool | None:
    """`validate_args` of a distribution: torch's default, but False while a program is compiled or exported: it has no values."""
    return False if torch.compiler.is_compiling() else None


def _last(each: Distribution, samples: int) -> Distribution:
    """A distribution of (S n, ...) values as one of (n, ..., S): the samples last, where mixtures have their components."""
    parameters = {
        name: getattr(each, name).unflatten(0, (samples, -1)).movedim(0, -1)
        for name in each.arg_constraints  # type: ignore[attr-defined]
        if name in each.__dict__  # of two that mean the same, probabilities and their logits, the one that was given
    }
    return type(each)(**parameters, validate_args=validation())


def _require_covariance(mean: Tensor, covariance: Tensor, where: str) -> None:
    wanted = (*mean.shape[:1], *2 * (mean[0].numel() if len(mean) else 0,))
    if covariance.shape != wanted:
        raise InvalidInput(
            "a covariance (n, k, k) of the k outputs of each example is needed",
            where=where,
            got=f"{tuple(covariance.shape)} for outputs {tuple(mean.shape)}",
            fix="flatten the outputs of an example",
        )


def _require_samples(outputs: Any, centre: Any, where: str) -> None:
    sound = isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.ndim > 1 and len(outputs)
    if not sound or (centre is not None and outputs.shape[1:] != getattr(centre, "shape", None)):
        got = [str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in (outputs, centre)]
        raise InvalidInput(
            "samples (S, n, ...) of the outputs are needed, and a centre (n, ...)",
            where=where,
            got=" and ".join(got),
            cause="the outputs of one network",
            fix="stack the outputs of several networks",
        )
