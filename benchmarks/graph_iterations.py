"""How many iterations a deep factor graph needs, in training and in prediction, scored on held-out training images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.graph_mnist import CHUNK, QUICK_LIMIT, drawn, load_images
from benchmarks.graph_recipes import RECIPES, SUMMED, learned
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED
from lightning_modules.evaluation import classification_scores

LIMIT, SCORED = 1000, 1000
TRAINING, PREDICTION = (4, 8, 16, 32, 64), (0, 1, 4, 16, 32)  # 0: a plain forward pass


def run(request: Request) -> Result:
    """Every number of iterations in training, and after each every number in prediction."""
    damping = {"damping": SUMMED.damping, "weight_damping": SUMMED.weight_damping}
    return Result({**damping, "scored": f"{SCORED} held-out training images", "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    name, limit = request.net or "mnist", QUICK_LIMIT if request.quick else request.limit or LIMIT
    images = load_images(name, request, validation=True)
    for seed in request.seeds[: 1 if request.quick else None]:
        for training in TRAINING[: 2 if request.quick else None]:
            x, y = drawn(images, limit, seed)
            pacing = SUMMED._replace(iterations=training)
            model, likelihood = learned(RECIPES["graph_pixels"]._replace(first=pacing, later=pacing), name, x, y)
            for prediction in PREDICTION[: 2 if request.quick else None]:
                told = {"net": name, "limit": len(x), "seed": seed, "epochs": 1}
                logs = [_predicted(model, likelihood, chunk, prediction) for chunk in images.scored_x[:SCORED].split(CHUNK)]
                found = classification_scores(torch.cat(logs), images.scored_y[:SCORED])
                say(told, f"{training} iterations, {prediction} to predict: {100 * found['accuracy']:.2f} %")
                yield {"method": "graph", **told, "settings": {"training": training, "prediction": prediction}, **found}


@torch.no_grad()
def _predicted(model: nn.Module, likelihood: gbp.SquaredSoftmax, images: Tensor, iterations: int) -> Tensor:
    """Log-probabilities from a forward pass, or from iterated inference of the activations with known weights."""
    if not iterations:
        return likelihood.predictive(model(images)).logits  # type: ignore[attr-defined]
    graph = gbp.FactorGraph(model, images, learn=False, approximation="linearised", exchange=False)
    graph.infer(iterations, SUMMED.damping, check=iterations)
    return likelihood.predictive(graph.output_belief()).logits  # type: ignore[attr-defined]


def table(rows: list[Row]) -> str:
    """A line for each number of iterations in training, a column for each in prediction: accuracies in percent."""
    if not rows:
        return NOT_RUN
    training, prediction = (sorted({row["settings"][kind] for row in rows}) for kind in ("training", "prediction"))
    headings = ["iterations of a batch", *(f"{k} to predict" if k else "forward pass" for k in prediction)]
    return grid(headings, [[str(t), *(number(_own(rows, t, k), "accuracy", 2, 100) for k in prediction)] for t in training])


def _own(rows: list[Row], training: int, prediction: int) -> list[Row]:
    return [row for row in rows if row["settings"] == {"training": training, "prediction": prediction}]
