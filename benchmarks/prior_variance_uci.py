"""The prior variance's formulas on small regression sets, noise variance learned, scored on held-out training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.prior_variance import FORMULAS
from benchmarks.report import Request, Result, Row, say
from benchmarks.uci_data import Learnt, asked, load, scores
from torch_gbp import GBPLeakyReLU, GBPLinear, Prior, Regression, Trainer

SETS = ["boston", "energy"]
EPOCHS, BATCH, HIDDEN, HELD_OUT = 40, 16, 50, 0.2
SCALES = {"scale 0.1": 0.1, "scale 1": 1.0}


class Variant(NamedTuple):
    """Settings of the layers, the likelihood and the trainer."""

    prior: dict[str, Any]
    power: float = 1.0
    trainer: dict[str, Any] = {}


VARIANTS: dict[str, Variant] = {
    **{
        f"{name}, {scaled}, power {power:g}": Variant({"prior": Prior(variance=formula, scale=scale)}, power)
        for power in (1.0, 8.0)
        for scaled, scale in SCALES.items()
        for name, formula in FORMULAS.items()
    },
    "code, scale 1, power 8, random prior means": Variant({"prior": Prior(scale=1.0, mean="start")}, 8.0),
    "code, scale 1, power 8, learned priors": Variant({"prior": Prior(scale=1.0)}, 8.0, {"learn_priors": True}),
}


def run(request: Request) -> Result:
    """Every variant on both sets; a seed is the number of the set's own split, and of the network's start."""
    settings = {"variants": list(VARIANTS), "scored": f"{HELD_OUT:.0%} of the training rows", "hidden": HIDDEN, "batch": BATCH}
    return Result(settings, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in asked(request.net, SETS):
        for seed in request.seeds[: 1 if request.quick else None]:
            data = load(request.data_dir, name, seed, HELD_OUT)
            epochs = 2 if request.quick else request.epochs or EPOCHS
            case = {"net": name, "limit": len(data.x), "seed": seed, "epochs": epochs}
            for title, variant in VARIANTS.items():
                row = {"method": title, **case, **_scores(variant, data, seed, epochs)}
                say(case, f"{title}: log likelihood {row['log_likelihood']:.3f}")
                yield row


def _scores(variant: Variant, data: Learnt, seed: int, epochs: int) -> dict[str, float]:
    torch.manual_seed(seed)
    layers = GBPLinear(data.x.shape[1], HIDDEN, **variant.prior), GBPLeakyReLU(0.1), GBPLinear(HIDDEN, 1, **variant.prior)
    likelihood = Regression(1.0, variant.power, learn_noise=True)
    trainer = Trainer(nn.Sequential(*layers), likelihood, epochs, progress=False, **variant.trainer)
    trainer.fit(DataLoader(TensorDataset(data.x, data.y), BATCH, shuffle=True))
    return scores(trainer.predict(data.scored_x), data) | {"noise_variance": float(likelihood.noise_variance)}
