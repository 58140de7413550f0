"""The prior variance's formulas on small regression sets, noise variance learned, scored on held-out training rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.prior_variance import FORMULAS
from benchmarks.report import Request, Result, Row, say
from lightning_modules.data.tables import Scaler, load_uci
from lightning_modules.evaluation import regression_scores
from torch_gbp import GBPLeakyReLU, GBPLinear, Regression, Trainer

SETS = ("bostonHousing", "energy")
EPOCHS, BATCH, HIDDEN, HELD_OUT = 40, 16, 50, 0.2
SCALES = {"scale 0.1": 0.1, "scale 1": 1.0}


class Variant(NamedTuple):
    """Settings of the layers, the likelihood and the trainer."""

    prior: dict[str, Any]
    power: float = 1.0
    trainer: dict[str, Any] = {}


VARIANTS: dict[str, Variant] = {
    **{
        f"{name}, {scaled}, power {power:g}": Variant({"prior_formula": formula, "prior_scale": scale}, power)
        for power in (1.0, 8.0)
        for scaled, scale in SCALES.items()
        for name, formula in FORMULAS.items()
    },
    "code, scale 1, power 8, random prior means": Variant({"prior_scale": 1.0, "random_prior_mean": True}, 8.0),
    "code, scale 1, power 8, learned priors": Variant({"prior_scale": 1.0}, 8.0, {"learn_priors": True}),
}


class Parts(NamedTuple):
    """Standardised training rows, held-out rows, and the deviation of the targets."""

    train: tuple[Tensor, Tensor]
    scored: tuple[Tensor, Tensor]
    unit: Tensor


def run(request: Request) -> Result:
    """Every variant on both sets; a seed is the number of the set's own split, and of the network's start."""
    settings = {"variants": list(VARIANTS), "scored": f"{HELD_OUT:.0%} of the training rows", "hidden": HIDDEN, "batch": BATCH}
    return Result(settings, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in SETS if request.net is None else (request.net,):
        for seed in request.seeds[: 1 if request.quick else None]:
            parts = _parts(request.data_dir, name, seed)
            case = {"net": name, "limit": len(parts.train[0]), "seed": seed, "epochs": request.epochs or EPOCHS}
            case["epochs"] = 2 if request.quick else case["epochs"]
            for title, variant in VARIANTS.items():
                row = {"method": title, **case, **_scores(variant, parts, seed, case["epochs"])}
                say(case, f"{title}: log likelihood {row['log_likelihood']:.3f}")
                yield row


def _parts(folder: Path, name: str, seed: int) -> Parts:
    table = load_uci(folder, name, seed)
    order = table.train[torch.randperm(len(table.train), generator=torch.Generator().manual_seed(seed))]
    held_out, kept = order.split([round(len(order) * HELD_OUT), len(order) - round(len(order) * HELD_OUT)])
    features, targets = Scaler.fit(table.x[kept]), Scaler.fit(table.y[kept])
    x, y = features(table.x).float(), targets(table.y).float()
    return Parts((x[kept], y[kept]), (x[held_out], y[held_out]), targets.std.float())


def _scores(variant: Variant, parts: Parts, seed: int, epochs: int) -> dict[str, float]:
    torch.manual_seed(seed)
    features = parts.train[0].shape[1]
    layers = GBPLinear(features, HIDDEN, **variant.prior), GBPLeakyReLU(0.1), GBPLinear(HIDDEN, 1, **variant.prior)
    likelihood = Regression(1.0, variant.power, learn_noise=True)
    trainer = Trainer(nn.Sequential(*layers), likelihood, epochs, progress=False, **variant.trainer)
    trainer.fit(DataLoader(TensorDataset(*parts.train), BATCH, shuffle=True))
    predictive = trainer.predict(parts.scored[0])
    unit, y = parts.unit, parts.scored[1]
    found = regression_scores(predictive.mean * unit, predictive.variance * unit.square(), y * unit)
    return found | {"noise_variance": float(likelihood.noise_variance)}
