"""The demo: a Bayesian convolutional network on scikit-learn's digits, beside the same plain network under AdamW."""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor

from examples.plots import Gallery, plot_gallery, plot_reliability
from lightning_modules.baseline import AdamWClassifier
from lightning_modules.calibrate import Calibrate
from lightning_modules.classifier import GBPClassifier
from lightning_modules.classifier_evaluation import ClassifierEvaluation
from lightning_modules.data import Digits
from lightning_modules.networks import DigitsConv
from torch_gbp import Softmax

# Chosen among .001, .003 and .01 by the likelihood of a held-out quarter of the training part; torch_gbp as it comes.
ADAMW_RATE = 3e-3
EPOCHS, BATCH_SIZE = 40, 16
HELD_OUT = 0.1  # of the training digits, which neither model trains on; they calibrate the variance factor of message passing
COLUMNS = ("accuracy", "nll", "ece", "ood_auroc", "seconds")
SHOWN = 4  # images in a row of the gallery


class Result(NamedTuple):
    """A trained model, its scores by `COLUMNS`, and its class probabilities on every test set by name."""

    model: ClassifierEvaluation
    scores: dict[str, float]
    probabilities: dict[str, Tensor]


def run(out: Path, seed: int = 0, epochs: int = EPOCHS) -> dict[str, dict[str, float]]:
    """Trains and tests both models and writes metrics.json, gbp.ckpt, reliability.png and predictive.png to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    data = Digits(batch_size=BATCH_SIZE, validation=HELD_OUT, ood=("shuffled", "inverted"), seed=seed)
    lightning.seed_everything(seed, verbose=False)
    gbp = GBPClassifier(DigitsConv(), Softmax())
    results = {"gbp": train(gbp, data, epochs, out / "gbp.ckpt")}
    lightning.seed_everything(seed, verbose=False)
    results["adamw"] = train(AdamWClassifier(DigitsConv(gbp=False), ADAMW_RATE), data, epochs)
    metrics = {name: result.scores for name, result in results.items()}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    draw(data, results, out)
    return metrics


def train(model: ClassifierEvaluation, data: Digits, epochs: int, checkpoint: Path | None = None) -> Result:
    """Fits and tests a model through Lightning."""
    print(f"Training {type(model).__name__} for {epochs} passes")
    calibrated = isinstance(model, GBPClassifier)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        check_val_every_n_epoch=epochs,  # after the last pass
        limit_val_batches=1.0 if calibrated else 0,
        num_sanity_val_steps=0,
        callbacks=[TQDMProgressBar(refresh_rate=20), *([Calibrate()] if calibrated else [])],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - start
    if checkpoint is not None:
        trainer.save_checkpoint(checkpoint)
    tested = trainer.test(model, data, verbose=False)[0]
    keys = {"ood_auroc": "ood_auroc/all"}
    scores = {name: float(tested[f"test/{keys.get(name, name)}"]) for name in COLUMNS if name != "seconds"}
    return Result(model, scores | {"seconds": seconds}, predict(model, data))


@torch.no_grad()
def predict(model: ClassifierEvaluation, data: Digits) -> dict[str, Tensor]:
    """Class probabilities on the test set and on every OOD set."""
    model.eval()
    sets = {"test": data.parts.test, **data.parts.ood}
    return {name: model.log_probabilities(pairs.tensors[0]).exp() for name, pairs in sets.items()}


def draw(data: Digits, results: dict[str, Result], out: Path) -> None:
    """Writes the two figures."""
    predictions = {"GBP": results["gbp"].probabilities, "AdamW": results["adamw"].probabilities}
    test = {name: sets["test"] for name, sets in predictions.items()}
    plot_reliability(test, data.parts.test.tensors[1], out / "reliability.png")
    hardest = test["GBP"].max(1).values.argsort()[:SHOWN]
    first = torch.arange(SHOWN)
    rows = [
        ("Test digits", "test", first),
        ("Test digits that message passing is least sure of", "test", hardest),
        ("Out of distribution: pixels shuffled", "shuffled", first),
        ("Out of distribution: inverted", "inverted", first),
    ]
    plot_gallery([_row(data, predictions, *row) for row in rows], out / "predictive.png")


def _row(data: Digits, predictions: dict[str, dict[str, Tensor]], title: str, name: str, chosen: Tensor) -> Gallery:
    pairs = data.parts.test if name == "test" else data.parts.ood[name]
    images, labels = pairs.tensors[0][chosen, 0], pairs.tensors[1][chosen] if name == "test" else None
    return Gallery(title, images, labels, {model: sets[name][chosen] for model, sets in predictions.items()})


def table(metrics: dict[str, dict[str, float]]) -> str:
    """The scores as lines of text.

    >>> print(table({"gbp": dict(accuracy=0.99, nll=0.04, ece=0.01, ood_auroc=0.98, seconds=9.0)}))
               accuracy       nll       ece ood_auroc   seconds
    gbp          0.9900    0.0400    0.0100    0.9800       9.0
    """
    lines = [" " * 9 + "".join(f"{name:>10}" for name in COLUMNS)]
    for model, scores in metrics.items():
        cells = [f"{scores[name]:>10.1f}" if name == "seconds" else f"{scores[name]:>10.4f}" for name in COLUMNS]
        lines.append(f"{model:<9}" + "".join(cells))
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Reads the arguments, runs the demo and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for figures, metrics and checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the training digits")
    options: Any = parser.parse_args(args)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # All data are in memory: loader workers would only copy them. The second is Lightning's own affair.
        for message in (".*does not have many workers.*", ".*LeafSpec.*"):
            warnings.filterwarnings("ignore", message)
        metrics = run(options.out, options.seed, options.epochs)
    print(f"\nDigits: 500 test images; OOD = the test images shuffled and inverted\n{table(metrics)}\n")
    print(f"Figures, metrics and checkpoint: {options.out}")


if __name__ == "__main__":
    main()
