"""`Regression()`, `Standardise()` and layers as they come on two of scikit-learn's tables, in 20 passes of `gbp.Trainer`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import sklearn.datasets
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from benchmarks.report import Request, Result, Row

EPOCHS, FRIEDMAN_ROWS, DIABETES_ROWS, SCORED = 20, 5000, 342, 2000
BATCHES = {"friedman": 32, "diabetes": 16}
NETS = {"50": (50,), "64-64": (64, 64), "128": (128,)}


def run(request: Request) -> Result:
    """Both tables by each network; Friedman's function has noise of deviation 1, so no RMSE is below 1."""
    told = {"epochs": EPOCHS, "batches": BATCHES, "friedman_noise": 1.0}
    return Result(told, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    epochs = request.epochs or (1 if request.quick else EPOCHS)
    for seed in request.seeds[: 1 if request.quick else None]:
        for name in BATCHES:
            x, y, count = _table(name, seed)
            ridge = Ridge().fit(x[:count], y[:count, 0]).predict(x[count:])
            error = float((torch.as_tensor(ridge) - y[count:, 0]).square().mean().sqrt())
            yield {"method": "linear", "net": name, "limit": count, "seed": seed, "epochs": 0, "rmse": error}
            for title, hidden in NETS.items():
                case = {"method": "gbp", "net": f"{name} {title}", "limit": count, "seed": seed, "epochs": epochs}
                yield case | _scores(x, y, count, hidden, BATCHES[name], epochs, seed)


def _table(name: str, seed: int) -> tuple[Tensor, Tensor, int]:
    """Inputs and targets in their own units, and how many rows train."""
    if name == "friedman":
        count = FRIEDMAN_ROWS
        x, y = sklearn.datasets.make_friedman1(count + SCORED, noise=1.0, random_state=seed)
        order = torch.arange(len(x))
    else:
        count = DIABETES_ROWS
        x, y = sklearn.datasets.load_diabetes(return_X_y=True)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return torch.as_tensor(x).float()[order], torch.as_tensor(y).float()[order, None], count


def _scores(x: Tensor, y: Tensor, count: int, hidden: Sequence[int], batch: int, epochs: int, seed: int) -> Row:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [gbp.Standardise()]
    for fan_in, fan_out in pairwise([x.shape[1], *hidden]):
        layers += [gbp.GBPLinear(fan_in, fan_out), gbp.GBPLeakyReLU(0.1)]
    likelihood = gbp.Regression()
    trainer = gbp.Trainer(nn.Sequential(*layers, gbp.GBPLinear(hidden[-1], 1)), likelihood, epochs, progress=False)
    trainer.fit(DataLoader(TensorDataset(x[:count], y[:count]), batch, shuffle=True))
    found = trainer.evaluate(DataLoader(TensorDataset(x[count:], y[count:]), 512))
    noise = float(likelihood.target_noise_variance)
    return {"rmse": found.rmse, "log_likelihood": found.log_evidence, "noise_variance": noise}
