"""The data of the grid: small parts of image sets, and the tables that come with scikit-learn."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import sklearn.datasets
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.data.images import load_fashion_mnist, load_mnist

IMAGES = 4000  # of a test set that are scored
SPLIT_SEED = 5
DIGITS_TUNED = (
    1400  # the first of the shuffled digits chose the defaults (1,000 to learn from, 400 scored): the others are scored here
)
INPUTS = {"mean 100": (1.0, 100.0), "x 1e-3": (1e-3, 0.0), "x 1e3": (1e3, 0.0), "mixed scales": (None, 0.0)}


class Data(NamedTuple):
    """Rows to learn from and rows to score; labels, or real targets (n, 1). Inputs are standardised by the rows to learn from."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor

    @property
    def outputs(self) -> int:
        """Classes, or 1."""
        return 1 if self.y.is_floating_point() else int(self.y.max()) + 1


@cache
def load(name: str, folder: Path, seed: int) -> Data:
    """A set by its name; tables are divided anew for every seed, images are not."""
    if name in ("mnist", "fashion"):
        return _images(name, folder)
    if name == "digits":
        x, y = sklearn.datasets.load_digits(return_X_y=True)
        return _divided(x, y, 1000, SPLIT_SEED, DIGITS_TUNED)
    x, y = _TABLES[name](seed)
    return _divided(x, y, len(x) // 2 if len(x) < 1000 else 1000, seed)


def changed(data: Data, inputs: str) -> Data:
    """The same with inputs in other units."""
    scale, shift = INPUTS[inputs]
    factor = torch.logspace(-3, 3, data.x.shape[1]) if scale is None else scale
    return data._replace(x=data.x * factor + shift, scored_x=data.scored_x * factor + shift)


def _images(name: str, folder: Path) -> Data:
    """14 x 14 pixels in 196 columns."""
    images = (load_mnist if name == "mnist" else load_fashion_mnist)(folder)
    x, scored = (F.avg_pool2d(part.float(), 2).flatten(1) for part in (images.train_x, images.test_x[:IMAGES]))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SPLIT_SEED))[:1000]
    mean, scale = x[order].mean(), x[order].std()
    return Data((x[order] - mean) / scale, images.train_y[order], (scored - mean) / scale, images.test_y[:IMAGES])


def _divided(x: Any, y: Any, count: int, seed: int, first_scored: int | None = None) -> Data:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = torch.as_tensor(x)[order].float(), torch.as_tensor(y)[order]
    y = y.float().view(-1, 1) if y.is_floating_point() else y.long()
    mean, scale = x[:count].mean(0), x[:count].std(0)
    x = (x - mean) / torch.where(scale > 0, scale, 1.0)
    start = count if first_scored is None else first_scored
    return Data(x[:count], y[:count], x[start:], y[start:])


def _bundled(load: Any) -> Any:
    return lambda seed: load(return_X_y=True)


def _made(make: Any, noise: float, **options: Any) -> Any:
    return lambda seed: make(n_samples=3000, noise=noise, random_state=seed, **options)


_TABLES = {
    "iris": _bundled(sklearn.datasets.load_iris),
    "wine": _bundled(sklearn.datasets.load_wine),
    "cancer": _bundled(sklearn.datasets.load_breast_cancer),
    "moons": lambda seed: sklearn.datasets.make_moons(2000, noise=0.2, random_state=seed),
    "diabetes": _bundled(sklearn.datasets.load_diabetes),
    "friedman1": _made(sklearn.datasets.make_friedman1, 1.0),
    "friedman2": _made(sklearn.datasets.make_friedman2, 125.0),
    "friedman3": _made(sklearn.datasets.make_friedman3, 0.1),
}
