"""OODScore against numpy and scikit-learn, on networks of every kind, and its refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import mlp
from sklearn.covariance import EmpiricalCovariance
from torch import Tensor, nn

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput
from torch_gbp.predictive.features import SharedGaussian, features_of
from torch_gbp.predictive.ood import Tail


def clouds(n: int = 300, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three clouds in three dimensions with their labels."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return torch.randn(n, 3, generator=generator) * 0.5 + 2 * torch.eye(3)[y], y


@pytest.fixture(scope="module")
def trained() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        gbp.GBPLinear(3, 16), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(16, 16), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(16, 3)
    )
    x, y = clouds()
    gbp.Trainer(model, gbp.Softmax(), epochs=10, progress=False).fit([(x[part], y[part]) for part in torch.arange(300).split(20)])
    return model


def test_distances_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(200) % 4 + 3  # labels need not begin at 0
    z = torch.randn(200, 6, generator=generator).double() @ torch.randn(6, 6, generator=generator).double() + y[:, None]
    means = {int(k): z[y == k].mean(0) for k in y.unique()}
    around = torch.stack([row - means[int(k)] for row, k in zip(z, y, strict=True)])
    fitted = EmpiricalCovariance(assume_centered=True).fit(around.numpy())
    new = 3 * torch.randn(50, 6, generator=generator).double()
    expected = np.min([fitted.mahalanobis((new - mean).numpy()) for mean in means.values()], axis=0)
    np.testing.assert_allclose(SharedGaussian(z, y).distance(new).numpy(), expected, rtol=1e-3)  # the ridge is 1e-6


def test_a_unit_that_never_moved_keeps_distances_finite() -> None:
    z = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 0.7
    assert SharedGaussian(z, torch.zeros(50)).distance(z + 1).max() < 1e7  # 1 / RIDGE times a few


def test_a_tail_is_counted_in_the_body_and_exponential_beyond() -> None:
    values = torch.distributions.Exponential(2.0).sample(torch.Size([200_000])).double()
    tail, t = Tail(values), torch.tensor([-1.0, 0.1, 0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    expected = (2 * t).clamp_min(0)  # -log P of an exponential: exact beyond the body as well
    torch.testing.assert_close(tail(t), expected, atol=0.02, rtol=0.02)
    assert (tail(values.sort().values).diff() >= 0).all()  # never falls
    below, above = tail(tail.quantile[None] - 1e-9), tail(tail.quantile[None] + 1e-9)
    assert float(above - below) == pytest.approx(0, abs=1e-3)
    assert float(tail(tail.quantile[None])) == pytest.approx(math.log(10), rel=1e-3)


def test_features_are_what_the_second_and_the_last_layer_are_given(trained: nn.Sequential) -> None:
    x, _ = clouds(8)
    with torch.no_grad():
        early, late = features_of(trained.eval(), x, "test")
        torch.testing.assert_close(early, trained[:2](x).mean)
        torch.testing.assert_close(late, trained[:4](x).mean)
    images = torch.randn(5, 2, 6, 6)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    early, late = features_of(network, images, "test")
    torch.testing.assert_close(early, network[:2](images).mean((2, 3)))
    torch.testing.assert_close(late, network[:4](images))
    single = nn.Linear(3, 2)
    assert all(torch.equal(part, x) for part in features_of(single, x, "test"))
    assert not single._forward_pre_hooks


def test_the_score_is_the_sum_of_its_parts_and_these_are_their_formulas(trained: nn.Sequential) -> None:
    x, y = clouds()
    likelihood = gbp.Softmax()
    score = gbp.OODScore(trained, likelihood, [(x[:100], y[:100]), (x[100:], y[100:])])
    new = torch.randn(40, 3, generator=torch.Generator().manual_seed(2)) * 4
    parts = score.parts(new)
    torch.testing.assert_close(score(new), sum(parts.values()))

    def statistics(x: Tensor) -> dict[str, np.ndarray]:
        probabilities = gbp.predict(trained, likelihood, x).probs.double()
        with torch.no_grad():
            early, late = trained[:2](x).mean.double().numpy(), trained[:4](x).mean.double().numpy()
        return {"entropy": -(probabilities * probabilities.log()).sum(1).numpy(), "early": early, "late": late}

    def distance(z: np.ndarray, own: np.ndarray, labels: np.ndarray) -> np.ndarray:
        means = np.stack([own[labels == k].mean(0) for k in np.unique(labels)])
        around = own - means[np.searchsorted(np.unique(labels), labels)]
        covariance = around.T @ around / len(own)
        precision = np.linalg.inv(covariance + 1e-6 * covariance.diagonal().mean() * np.eye(len(covariance)))
        return np.min([np.einsum("ni,ij,nj->n", z - mean, precision, z - mean) for mean in means], axis=0)

    told, asked, labels, none = statistics(x), statistics(new), y.numpy(), np.zeros(300)
    pairs = {
        "entropy": (told["entropy"], asked["entropy"]),
        "distance": tuple(distance(own["early"], told["early"], labels) for own in (told, asked)),
        "relative": tuple(
            distance(own["late"], told["late"], labels) - distance(own["late"], told["late"], none) for own in (told, asked)
        ),
    }
    for name, (reference, values) in pairs.items():
        expected = Tail(torch.from_numpy(reference))(torch.from_numpy(values))
        torch.testing.assert_close(parts[name], expected, rtol=2e-2, atol=2e-2)


def test_inputs_far_away_are_strange_where_the_entropy_is_sure(trained: nn.Sequential) -> None:
    x, y = clouds()
    test, _ = clouds(90, seed=1)
    score = gbp.OODScore(trained, gbp.Softmax(), [(x, y)])
    far = 10 * test
    assert gbp.predict(trained, gbp.Softmax(), far).distribution.entropy().mean() < 0.05
    assert (score(far)[:, None] > score(test)).double().mean() > 0.99
    assert score(100 * test).mean() > score(far).mean()  # it does not saturate


@pytest.mark.parametrize("kind", ["plain", "convolutions", "layers"])
def test_every_kind_of_network_has_a_score(kind: str) -> None:
    torch.manual_seed(0)
    images = kind == "convolutions"
    x, y = (torch.randn(90, 2, 6, 6), torch.arange(90) % 3) if images else clouds(90)
    plain = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(), nn.Linear(8, 3))
    networks = {
        "plain": lambda: gbp.from_torch(plain, fresh=True),
        "convolutions": lambda: gbp.from_torch(
            nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 3)), fresh=True
        ),
        "layers": mlp,
    }
    model = networks[kind]()
    modes = [module.training for module in model.modules()]
    score = gbp.OODScore(model, gbp.Softmax(), [(x, y)], samples=4)
    assert score(x).shape == (90,) and score(x).isfinite().all() and (score(x) >= 0).all()
    assert torch.equal(score(x), score(x))
    assert score(10 * x).median() > score(x).median()
    assert [module.training for module in model.modules()] == modes


def test_bad_calls_are_refused(trained: nn.Sequential) -> None:
    x, y = clouds()
    bad = {
        "only predictions of classes": lambda: gbp.OODScore(gbp.GBPLinear(3, 1), gbp.Regression(), [(x, x[:, :1])]),
        "more training examples than features": lambda: gbp.OODScore(trained, gbp.Softmax(), [(x[:16], y[:16])]),
        "labels must lie in 0 ... 2": lambda: gbp.OODScore(trained, gbp.Softmax(), [(x, y + 1)]),
        "labels must be integers": lambda: gbp.OODScore(trained, gbp.Softmax(), [(x, y.double())]),
        "no examples": lambda: gbp.OODScore(trained, gbp.Softmax(), []),
        "no linear or convolutional layer": lambda: features_of(nn.Flatten(), x, "test"),
    }
    for text, call in bad.items():
        with pytest.raises(InvalidInput, match=text):
            call()
