"""What loaders give a Lightning module: several of them for validation or test, and batches that are no pairs."""

from __future__ import annotations

import pytest
import torch
from lightning_helpers import IGNORED, trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from lightning_modules import AdamWClassifier, GBPClassifier, GBPRegressor
from torch_gbp.errors import InvalidInput

pytestmark = [pytest.mark.filterwarnings(text) for text in IGNORED]
X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS, REAL = (X[:, 0] > 0).long(), X[:, :1] - X[:, 1:2]


def network(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return gbp.GBPLinear(4, outputs)


MODULES = {
    "classifier": (lambda: GBPClassifier(network(2)), LABELS),
    "plain classifier": (lambda: AdamWClassifier(nn.Linear(4, 2)), LABELS),
    "regressor": (lambda: GBPRegressor(network(1), gbp.Regression(0.1)), REAL),
}
each = pytest.mark.parametrize(("make", "y"), MODULES.values(), ids=MODULES)


def pairs(x: Tensor, y: Tensor) -> DataLoader:
    return DataLoader(TensorDataset(x, y), batch_size=8)


@each
def test_every_validation_loader_has_scores_of_its_own(make, y) -> None:
    module, run = make(), trainer(1, limit_val_batches=1.0)
    alone = [run.validate(module, pairs(X[part], y[part]), verbose=False)[0] for part in (slice(16), slice(16, 40))]
    together = {name: value for found in run.validate(module, [pairs(X[:16], y[:16]), pairs(X[16:], y[16:])], verbose=False)
                for name, value in found.items()}  # fmt: skip
    for number, scores in enumerate(alone):
        for name, value in scores.items():
            assert together[f"{name}/dataloader_idx_{number}"] == pytest.approx(value)
    assert len(together) == 2 * len(alone[0])
    run.fit(module, pairs(X, y), [pairs(X[:16], y[:16]), pairs(X[16:], y[16:])])


def test_every_test_loader_of_a_regressor_has_scores_of_its_own() -> None:
    module, run = MODULES["regressor"][0](), trainer(1)
    alone = [run.test(module, pairs(X[part], REAL[part]), verbose=False)[0] for part in (slice(16), slice(16, 40))]
    loaders = [pairs(X[:16], REAL[:16]), pairs(X[16:], REAL[16:])]
    together = {name: value for found in run.test(module, loaders, verbose=False) for name, value in found.items()}
    assert together["test/rmse/dataloader_idx_1"] == pytest.approx(alone[1]["test/rmse"])
    assert together["test/reg/CRPS/dataloader_idx_0"] == pytest.approx(alone[0]["test/reg/CRPS"])


@each
@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_batches_of_dictionaries_are_refused_by_name(make, y, stage) -> None:
    loader = DataLoader([{"x": x, "y": target} for x, target in zip(X, y, strict=True)], batch_size=8)
    with pytest.raises(InvalidInput, match=r"a batch must be \(input, target\).*dict with \['x', 'y'\].*collate_fn"):
        getattr(trainer(1, limit_val_batches=1.0), stage)(make(), loader)
