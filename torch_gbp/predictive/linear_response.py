"""Linear response: the outputs under the joint Gaussian of all weights, for small networks and few data.

Marginals are right about each weight, but their product forgets how weights make up for each other: a predictive made of
it is too wide where there are data, and too narrow far from them. Near the means the whole network is a linear factor,
so the weights' joint posterior is a Gaussian there, as it would be if messages were exact:

    S^-1 = diag(R0) + sum_n J_n' C_n J_n          m(x), v(x) = mean output, diag(J_x S J_x')

R0 prior precisions, J_n what a unit score at the outputs of example n says to the means of the weights (a message of no
precision, so the derivative of the linearised network), C_n the curvature of the likelihood at its mean outputs, times its power.
It is worked out in the space of outputs, with k(x, x') = J_x diag(R0)^-1 J_x', so that no matrix has the size of the weights.
`sample` lets the networks that the joint Gaussian draws predict as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from torch_gbp.errors import ImproperMarginal
from torch_gbp.gaussian import Gaussian
from torch_gbp.likelihoods import Likelihood
from torch_gbp.memory import require_memory
from torch_gbp.modules import evaluating
from torch_gbp.optim.message_weight import full_power
from torch_gbp.predictive.examples import output_of, require_network
from torch_gbp.predictive.known import Network, undisturbed
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.seeds import PREDICTING, own_seed

ROUNDING = 1e-4  # curvatures may be negative by this much of the largest


class LinearResponse:
    """Outputs and predictions of a trained network under the joint Gaussian of its weights.

    Memory: training outputs x (weights + training outputs), time cubic in the training outputs: some thousands of them.

    Args:
        model: network of GBP layers, trained; its means stay the mean of the joint Gaussian, frozen layers count as known.
        likelihood: the one it was trained with.
        x, y: training inputs (n, ...) and targets, all of them.

    Raises:
        InvalidInput: outputs that are no Gaussian, targets that do not fit them.
        ImproperMarginal: a likelihood whose logarithm is not concave at the outputs.
        OutOfMemory: the kernel would not fit.

    Source: linear response, as for expectation consistent inference (Opper & Winther 2004) and mean-field VI (Giordano,
    Broderick & Jordan 2018), with the curvature of the linearised network (generalised Gauss-Newton).

    >>> import torch_gbp as gbp
    >>> x, model = torch.tensor([[1.0, 1.0]]), gbp.GBPLinear(2, 1, bias=False, prior=gbp.Prior(1.0))
    >>> joint = LinearResponse(model, gbp.Regression(1e-6), x, torch.zeros(1, 1))
    >>> joint(torch.tensor([[1.0, 1.0], [1.0, -1.0]])).variance.round(decimals=3)  # the sum is known, the difference is not
    tensor([[0.],
            [2.]])
    """

    def __init__(self, model: nn.Module, likelihood: Likelihood, x: Tensor, y: Tensor) -> None:
        require_network(model, likelihood, "LinearResponse")
        self.model, self.likelihood = model, likelihood
        self.weights = [own for own in model.modules() if isinstance(own, GaussianParameter) and own.mean.requires_grad]
        mean = self._mean(x)
        sizes = [own.mean.numel() for own in self.weights]
        needed = mean.numel() * (sum(sizes) + mean.numel()) * mean.element_size()
        require_memory(
            needed, mean.device, f"the joint posterior of {mean.numel()} outputs", "use fewer examples, or the marginals"
        )
        root = _root(full_power(likelihood, sizes, len(x)) * _curvature(likelihood, mean, y))
        self._told = torch.cat([root_n.T @ slopes for root_n, slopes in zip(root, self._slopes(x), strict=True)])
        self._factor = _cholesky(self._told @ self._told.T)

    def __call__(self, x: Tensor) -> Gaussian:
        """Belief of the outputs at x."""
        mean = self._mean(x)
        return Gaussian(mean, torch.stack([covariance.diagonal() for covariance in self._covariances(x)]).view_as(mean))

    def predict(self, x: Tensor) -> Distribution:
        """Predictive distribution of the targets at x, from the joint Gaussian of each example's outputs (`likelihood.joint`)."""
        with torch.no_grad():
            return self.likelihood.joint(self._mean(x), torch.stack(list(self._covariances(x))))

    def sample(self, x: Tensor, samples: int = 200, generator: torch.Generator | None = None) -> Tensor:
        """Outputs at x of whole networks whose weights are drawn from the joint Gaussian, (samples, n, outputs).

        Nothing but the weights' posterior is linear here: far from the data, where units bend that have been straight so far, the
        outputs scatter more than the linearised ones do.
        """
        network = Network(self.model, "LinearResponse.sample")
        owners = {id(own): name for name, own in network.owners.items()}
        names = [owners[id(own)] for own in self.weights]
        draw = partial(self._draw, generator or torch.Generator(self._told.device).manual_seed(own_seed(PREDICTING)))
        with evaluating(self.model), undisturbed(network.model), torch.no_grad():
            drawn = (network.means() | dict(zip(names, draw(), strict=True)) for _ in range(samples))
            return torch.stack([network.carrying(weights, x).mean for weights in drawn])

    def _covariances(self, x: Tensor) -> Iterator[Tensor]:
        """J S J' of one example after the other, (outputs, outputs)."""
        for slopes in self._slopes(x):
            explained = torch.linalg.solve_triangular(self._factor, self._told @ slopes.T, upper=False)
            covariance = slopes @ slopes.T - explained.T @ explained
            covariance.diagonal().clamp_min_(0)  # a difference may round to less than nothing
            yield covariance

    def _draw(self, generator: torch.Generator) -> list[Tensor]:
        """Weights from N(m, S): S^(1/2) e as what is left of a draw of the prior once a draw of the data's noise was observed."""
        sizes, told = [own.mean.numel() for own in self.weights], self._told
        prior, noise = (
            torch.randn(n, generator=generator, device=told.device, dtype=told.dtype) for n in (sum(sizes), len(told))
        )
        explained = torch.cholesky_solve((told @ prior + noise).unsqueeze(1), self._factor).squeeze(1)
        parts = (prior - told.T @ explained).split(sizes)
        return [
            own.mean.detach() + own.prior_precision.rsqrt() * part.view_as(own.mean)
            for own, part in zip(self.weights, parts, strict=True)
        ]

    @torch.no_grad()
    def _mean(self, x: Tensor) -> Tensor:
        return self._output(x).mean

    def _output(self, x: Tensor) -> Gaussian:
        with evaluating(self.model):
            return output_of(self.model, x, "LinearResponse")

    def _slopes(self, x: Tensor) -> Iterator[Tensor]:
        """J of one example after the other, (outputs, weights), in prior deviations of the weights."""
        for row in x.split(1):
            with torch.enable_grad():
                outputs = self._output(row).mean.flatten().unbind()
            yield torch.stack([self._slope(output) for output in outputs])

    def _slope(self, output: Tensor) -> Tensor:
        """What a unit score at one output says to the weights."""
        means = [own.mean for own in self.weights]
        said = torch.autograd.grad(output, means, retain_graph=True, materialize_grads=True)
        deviations = (own.prior_precision.rsqrt() for own in self.weights)
        return torch.cat([(part * deviation).flatten() for part, deviation in zip(said, deviations, strict=True)])


def _curvature(likelihood: Likelihood, mean: Tensor, y: Tensor) -> Tensor:
    """Minus the second derivatives of log p(y | output) at the mean outputs, (n, outputs, outputs)."""
    likelihood.validate(Gaussian(mean, torch.zeros_like(mean)), y)
    with torch.enable_grad():
        leaf = mean.detach().clone().requires_grad_()
        log = likelihood.evidence(leaf, torch.zeros_like(leaf), y).log.sum()
        (score,) = torch.autograd.grad(log, leaf, create_graph=True)
        columns = [
            torch.autograd.grad(part.sum(), leaf, retain_graph=True, materialize_grads=True)[0].reshape(len(leaf), -1)
            for part in score.reshape(len(leaf), -1).T
        ]
    return -torch.stack(columns, 2)


def _root(curvature: Tensor) -> Tensor:
    """R with R R' = C for every example."""
    values, vectors = torch.linalg.eigh(curvature)
    if (values.amin() < -ROUNDING * values.amax()).item():
        raise ImproperMarginal(
            "the log-likelihood is not concave at the outputs",
            where="LinearResponse",
            got=f"curvature {values.amin().item():.3g}, largest {values.amax().item():.3g}",
            cause="a likelihood with a learned variance per example, or one that is far from fitted",
            fix="use the marginals' own predictive, model(x)",
        )
    return vectors * values.clamp_min(0).sqrt().unsqueeze(1)


def _cholesky(covariance: Tensor) -> Tensor:
    """L with L L' = I + covariance.

    Raises:
        ImproperMarginal: the rounding of the covariance is larger than 1.
    """
    factor, failed = torch.linalg.cholesky_ex(torch.eye(len(covariance)).to(covariance) + covariance)
    if failed.item():
        raise ImproperMarginal(
            "the joint precision has no Cholesky factor",
            where="LinearResponse",
            got=f"variances of up to {covariance.diagonal().amax().item():.3g} units of noise, in {covariance.dtype}",
            cause="inputs in large units",
            fix="standardise the inputs, or use model.double()",
        )
    return factor
