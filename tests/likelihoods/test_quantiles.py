"""Quantiles and intervals of predictions: beside scipy's, and in how many draws they hold."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, MixtureSameFamily, Normal, Poisson

import torch_gbp as gbp
from torch_gbp import Gaussian
from torch_gbp.errors import InvalidInput
from torch_gbp.likelihoods.quantiles import cdf, quantile
from torch_gbp.predictive import Outputs, Predictive

LEVELS = [1e-6, 0.05, 0.5, 0.9, 1 - 1e-6]
each_level = pytest.mark.parametrize("level", LEVELS)


def mixed(parts: Distribution, weights: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(weights.expand(parts.batch_shape)), parts)


def of_normals(dtype: torch.dtype = torch.float64) -> MixtureSameFamily:
    """Two modes far apart; one component that is all but a point; a large offset."""
    mean = torch.tensor([[-50.0, 50.0], [0.0, 0.0], [1e4, 1e4 + 3]], dtype=dtype)
    return mixed(
        Normal(mean, torch.tensor([[1.0, 0.1], [1e-4, 30.0], [1.0, 2.0]], dtype=dtype)), torch.tensor([0.3, 0.7], dtype=dtype)
    )


@each_level
def test_a_mixture_of_gaussians_has_that_share_below_its_quantile(level: float) -> None:
    found = of_normals()
    torch.testing.assert_close(found.cdf(quantile(found, level)), torch.full((3,), level, dtype=torch.float64), rtol=1e-6, atol=0)


@each_level
def test_in_float32_it_is_right_to_the_rounding(level: float) -> None:
    single, exact = quantile(of_normals(torch.float32), level), quantile(of_normals(), level)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)


def test_one_gaussian_has_torchs_own() -> None:
    one = Normal(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(quantile(one, 0.9), one.icdf(torch.tensor(0.9)), rtol=0, atol=0)


@each_level
@pytest.mark.parametrize("rate", [1e-8, 0.3, 1.0, 77.7, 1e6])
def test_counts_have_scipys(rate: float, level: float) -> None:
    found = quantile(Poisson(torch.tensor([rate], dtype=torch.float64)), level)
    assert found.item() == stats.poisson(rate).ppf(level)
    assert str(found.item()) != "-0.0"


@each_level
def test_a_mixture_of_counts_is_the_smallest_with_so_much_below(level: float) -> None:
    rates, weights = torch.tensor([[0.01, 3.0, 400.0]], dtype=torch.float64), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    found = quantile(mixed(Poisson(rates), weights), level).item()

    def below(count: float) -> float:
        return sum(float(w) * stats.poisson(float(rate)).cdf(count) for w, rate in zip(weights, rates[0], strict=True))

    assert below(found) >= level > below(found - 1)


def test_counts_below_zero_have_no_share() -> None:
    assert cdf(Poisson(torch.tensor([2.0])), torch.tensor([-0.5])).item() == 0


@pytest.mark.parametrize("how", ["samples", "linear", "means"])
def test_intervals_of_every_way_hold_their_share_of_the_draws(how: str) -> None:
    x = torch.linspace(-1, 1, 10)[:, None]
    for likelihood in (gbp.Poisson(), gbp.Regression(0.3)):
        torch.manual_seed(0)
        model = gbp.from_torch(nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)), fresh=True)
        found = gbp.predict(model, likelihood, x, how=how)
        low, high = found.interval(0.9)
        draws = found.distribution.sample((20_000,))
        inside = ((draws >= low) & (draws <= high)).double().mean(0)
        assert low.shape == (10, 1) and bool((low < high).all())
        assert bool((inside > 0.89).all()) and (isinstance(likelihood, gbp.Poisson) or bool((inside < 0.91).all()))


def predictive(likelihood: gbp.Likelihood) -> Predictive:
    return Predictive(likelihood, Outputs(torch.zeros(1, 2), torch.ones(1, 2)), "moments")


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, float("nan"), "half"])
def test_a_level_is_between_0_and_1(level: float) -> None:
    found = predictive(gbp.Regression(1.0))
    for ask, where in ((found.quantile, "Predictive.quantile"), (found.interval, "Predictive.interval")):
        with pytest.raises(InvalidInput, match=where):
            ask(level)


def test_classes_have_none() -> None:
    with pytest.raises(InvalidInput, match="classes have no quantiles"):
        predictive(gbp.Softmax()).quantile(0.5)


def test_a_distribution_without_cdf_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"no cumulative.*Bernoulli"):
        quantile(Bernoulli(torch.tensor(0.5)), 0.5)


def test_the_compound_of_counts_and_a_gaussian_output_is_that_of_draws() -> None:
    output = Gaussian(torch.tensor([0.0, 2.0, -3.0]), torch.tensor([0.5, 1.0, 4.0]))
    generator = torch.Generator().manual_seed(0)
    z = output.mean + output.variance.sqrt() * torch.randn(200_000, 3, generator=generator)
    draws = torch.poisson(z.exp(), generator=generator)
    for level in (0.05, 0.5, 0.95):
        found = quantile(gbp.Poisson().predictive(output), level)
        assert bool(((draws <= found).double().mean(0) > level - 0.003).all())
        assert bool(((draws < found).double().mean(0) < level + 0.003).all())


@pytest.mark.parametrize("mean", [-5.0, 0.0, 2.0, 9.0])
@pytest.mark.parametrize("variance", [0.0, 1e-6, 0.1, 1.0, 25.0])
def test_the_compound_of_counts_has_the_share_of_a_fine_sum(mean: float, variance: float) -> None:
    """Also where counts are so many that Poisson's width is far below the distance of a mixture's parts."""
    x = torch.linspace(-10, 10, 400_001, dtype=torch.float64)
    rate, weight = (mean + variance**0.5 * x).exp(), torch.softmax(-0.5 * x.square(), 0)
    y = torch.tensor([-1.0, 0, 1, *torch.tensor([mean + t * variance**0.5 for t in (-1, 0.3, 2)]).exp()], dtype=torch.float64)
    shares = [float((weight * torch.special.gammaincc(own.floor() + 1, rate)).sum()) if own >= 0 else 0.0 for own in y]
    output = Gaussian(torch.full((6,), mean, dtype=torch.float64), torch.full((6,), variance, dtype=torch.float64))
    torch.testing.assert_close(
        gbp.Poisson().predictive(output).cdf(y), torch.tensor(shares, dtype=torch.float64), rtol=0, atol=2e-8
    )


def test_quantiles_of_many_counts_are_no_stairs() -> None:
    """Median and the hundredth part above it, of log rates N(12, 1): all but the log-normal's own."""
    many = gbp.Poisson().predictive(Gaussian(torch.tensor([12.0]), torch.tensor([1.0])))
    for level in (0.5, 0.51):
        assert quantile(many, level).log().item() == pytest.approx(12 + stats.norm.ppf(level), abs=1e-4)


def test_the_compound_of_counts_that_fall_with_the_output_is_that_of_the_mirrored_output() -> None:
    class Falling(gbp.Poisson):
        def known(self, outputs: Tensor) -> Poisson:
            return super().known(-outputs)

    mean, variance = torch.tensor([-2.0, 0.0, 9.0], dtype=torch.float64), torch.tensor([1.0, 0.1, 1.0], dtype=torch.float64)
    y = torch.tensor([1.0, 1.0, 9000.0], dtype=torch.float64)
    rising, falling = (own.distribution(Gaussian(m, variance)).cdf(y) for own, m in ((gbp.Poisson(), mean), (Falling(), -mean)))
    torch.testing.assert_close(falling, rising, rtol=0, atol=1e-9)
