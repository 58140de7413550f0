"""Active learning on scikit-learn's digits: which images to label next, by what the network does not know.

`python -m examples.active_learning --out runs/active` trains a small Bayesian network anew after every 20 labels, chosen at
random, by entropy, or by BALD; prints the test accuracy, and draws it against the number of labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import torch_gbp as gbp
from lightning_modules.data.images import load_digits

COLOURS = {"random": "#8C8C8C", "entropy": "#0072B2", "margin": "#CC79A7", "bald": "#D55E00", "batchbald": "#009E73"}
FIRST, ROUND, ROUNDS, SEEDS = 20, 20, 8, 3
EPOCHS, BATCH = 60, 16


class Digits(NamedTuple):
    """A pool whose labels are asked for one by one, and test images."""

    pool: Tensor
    labels: Tensor
    test: Tensor
    truth: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.active_learning", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/active"), help="folder of the figure")
    parser.add_argument("--ways", nargs="+", choices=list(COLOURS), default=["random", "entropy", "bald"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    run(arguments.out, arguments.ways, arguments.rounds, arguments.seeds)


def run(out: Path, ways: Sequence[str], rounds: int, seeds: int, epochs: int = EPOCHS) -> dict[str, Tensor]:
    """Accuracies (seeds, rounds) of every way, drawn to `out`/labels.png."""
    data, found = digits(), {}
    for how in ways:
        found[how] = torch.tensor([accuracies(data, how, rounds, seed, epochs) for seed in range(seeds)])
        told = "  ".join(f"{100 * value:.1f}" for value in found[how].mean(0))
        print(f"{how:10} accuracy (%) with {FIRST}, {FIRST + ROUND} ... labels: {told}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    draw(found, out / "labels.png")
    return found


def accuracies(data: Digits, how: str, rounds: int, seed: int, epochs: int) -> list[float]:
    """Test accuracy after each round of labels, which are chosen in this way."""
    generator, found = torch.Generator().manual_seed(seed), []
    labelled = torch.randperm(len(data.pool), generator=generator)[:FIRST]
    for _ in range(rounds):
        torch.manual_seed(seed)
        trainer = trained(data.pool[labelled], data.labels[labelled], epochs)
        found.append(accuracy(trainer, data))
        rest = torch.ones(len(data.pool), dtype=torch.bool).index_fill(0, labelled, False).nonzero()[:, 0]
        predicted = gbp.predict(trainer.model, trainer.likelihood, data.pool[rest], how="samples" if how == "batchbald" else None)
        chosen = gbp.select(predicted, ROUND, how, generator=generator)  # the next images to label
        labelled = torch.cat([labelled, rest[chosen]])
    return found


def trained(x: Tensor, y: Tensor, epochs: int) -> gbp.Trainer:
    """A network of one hidden layer, from its prior."""
    model = nn.Sequential(gbp.GBPLinear(64, 64), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(64, 10))
    trainer = gbp.Trainer(model, gbp.Softmax(), epochs=epochs, progress=False)
    trainer.fit(DataLoader(TensorDataset(x, y), BATCH, shuffle=True))
    return trainer


def accuracy(trainer: gbp.Trainer, data: Digits) -> float:
    found = gbp.predict(trainer.model, trainer.likelihood, data.test)
    return float((found.probs.argmax(1) == data.truth).double().mean())


def digits() -> Digits:
    """The embedded digits, flat and with mean 0 and deviation 1."""
    images = load_digits()
    centre, scale = images.train_x.float().mean(), images.train_x.float().std()
    pool, test = ((part.float() - centre).div(scale).flatten(1) for part in (images.train_x, images.test_x))
    return Digits(pool, images.train_y, test, images.test_y)


def draw(found: dict[str, Tensor], path: Path) -> None:
    """Accuracy against labels: the mean over the seeds, and the range from the worst to the best."""
    figure = Figure(figsize=(5.2, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for how, values in found.items():
        labels = FIRST + ROUND * torch.arange(values.shape[1])
        axes.plot(labels, 100 * values.mean(0), color=COLOURS[how], marker="o", markersize=3, label=how)
        axes.fill_between(labels, 100 * values.amin(0), 100 * values.amax(0), color=COLOURS[how], alpha=0.15, linewidth=0)
    axes.set(xlabel="labels", ylabel="test accuracy (%)", title="Digits: labels chosen by what the network does not know")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
