"""The thesis' table 5.1 for the MLP: classification of few MNIST images, in the published order and in batched ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import CHUNK, scores, timed
from benchmarks.results import Request, Result, Row, say
from benchmarks.tasks import SUBSET_SEED, TASKS, Split, limited, load
from examples.networks import mlp
from torch_gbp import (
    Argmax,
    BatchSites,
    ExampleByExample,
    FixedBatches,
    GBPLeakyReLU,
    GBPLinear,
    Inference,
    Likelihood,
    OneHotRegression,
    PairwiseArgmax,
    Prior,
    Softmax,
    Trainer,
    from_torch,
    thesis_iterations,
    thesis_rate,
)

LIMITS = (80, 160, 320, 640, 1280, 2560, 5120, 10240, 60000)
EPOCHS, BATCH = 18, 320  # of the published schedule
FIRST_LAYER = 1.5 / 784  # prior variance of the first layer in the published code; the others take its formula
PUBLISHED = {
    "gbp_onehot": (30.01, 61.79, 77.61, 85.69, 88.95, 91.72, 94.85, 96.25, 98.33),
    "gbp_argmax": (31.88, 61.08, 80.79, 85.50, 87.92, 91.56, 94.08, 95.72, 98.21),
}


class Way(NamedTuple):
    """An order, the likelihood of each method in it, and the most images it is run on unless the call asks for more."""

    train: Callable[[Likelihood, Split, Request], Trainer]
    likelihoods: dict[str, Callable[[], Likelihood]]
    largest: int = LIMITS[-1]


def run(request: Request) -> Result:
    """Every order, method and number of images; `order` tells them apart, `published` is the thesis' accuracy."""
    settings = {"published": PUBLISHED, "limits": LIMITS, "batch": BATCH, "iterations": thesis_iterations(EPOCHS)}
    return Result({**settings, "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    data = load(TASKS["mnist"]._replace(ood={}), request)
    for limit in [request.limit or 16] if request.quick else [request.limit] if request.limit else LIMITS:
        ways = {order: way for order, way in WAYS.items() if request.limit or limit <= way.largest}
        for seed in request.runs:
            split = limited(data, limit, draw=seed)
            for order, way in ways.items():
                for method in [name for name in way.likelihoods if name in (request.methods or way.likelihoods)]:
                    yield _row(order, way, method, split, seed, request)


def _row(order: str, way: Way, method: str, split: Split, seed: int, request: Request) -> Row:
    torch.manual_seed(seed)
    trained: list[Trainer] = []
    seconds = timed(lambda: trained.append(way.train(way.likelihoods[method](), split, request)))
    case: Row = {"net": "mlp", "limit": len(split.x), "seed": seed, "epochs": trained[0].epochs}
    found = scores(_log_probabilities(trained[0], split.scored_x), split.scored_y)
    say(case, f"{method}, {order}: {100 * found['accuracy']:.2f} % in {seconds:.0f} s")
    return {"method": method, "order": order, **case, **found, "train_seconds": seconds}


def _sequential(likelihood: Likelihood, split: Split, request: Request) -> Trainer:
    """As published: float64, one example after the other, exact messages, 90 sweeps of every batch in 18 passes."""
    options: dict[str, Any] = {"covariance": "diagonal", "dtype": torch.float64}
    prior = Prior(scale=1.0, mean="start")
    first = GBPLinear(784, 256, prior=Prior(FIRST_LAYER, mean="start"), **options)
    layers = [first, GBPLeakyReLU(0.1), GBPLinear(256, 256, prior=prior, **options)]
    model = nn.Sequential(nn.Flatten(), *layers, GBPLeakyReLU(0.1), GBPLinear(256, 10, prior=prior, **options))
    epochs = request.epochs or (2 if request.quick else EPOCHS)
    inference = Inference(thesis_iterations(epochs), thesis_rate, schedule=ExampleByExample())
    batches = FixedBatches(TensorDataset(split.x.double(), split.y), BATCH, seed=None)
    trainer = Trainer(model, likelihood, epochs, store=BatchSites(), inference=inference, progress=False)
    trainer.fit(DataLoader(batches, batch_size=None, shuffle=True))
    return trainer


def _averaged(likelihood: Likelihood, split: Split, request: Request) -> Trainer:
    """torch_gbp as it comes: batched messages, averaged sites, the passes and batches of `lowdata` and `mnist`."""
    plans = {plan.limit: plan for plan in TASKS["lowdata"].nets["mlp"].plans}
    plan = plans.get(len(split.x), TASKS["mnist"].nets["mlp"].plans[0])
    epochs = request.epochs or (2 if request.quick else plan.epochs)
    trainer = Trainer(from_torch(mlp(), fresh=True, moments=True), likelihood, epochs, progress=False)
    trainer.fit(DataLoader(TensorDataset(split.x, split.y), plan.batch, shuffle=True))
    return trainer


WAYS = {
    "sequential": Way(
        _sequential,
        {
            "gbp_onehot": lambda: OneHotRegression(0.01, power=1),
            "gbp_argmax": PairwiseArgmax,
            "gbp_argmax_plain": lambda: PairwiseArgmax(regulariser_variance=None),
            "gbp": lambda: Softmax(power=1),
        },
        largest=2560,  # an hour and more for 5,120
    ),
    "averaged": Way(
        _averaged,
        {
            "gbp_onehot": OneHotRegression,
            "gbp_argmax": Argmax,
            "gbp_argmax_plain": lambda: Argmax(regulariser_variance=None),
            "gbp": Softmax,
        },
    ),
}
METHODS = tuple(dict.fromkeys(method for way in WAYS.values() for method in way.likelihoods))


@torch.no_grad()
def _log_probabilities(trainer: Trainer, images: Tensor) -> Tensor:
    """Of every class for every image, in the precision of the network."""
    images = images.to(next(trainer.model.parameters()).dtype)
    return torch.cat([_categorical(trainer, chunk).logits for chunk in images.split(CHUNK)]).float()


def _categorical(trainer: Trainer, images: Tensor) -> Categorical:
    predictive = trainer.predict(images)
    assert isinstance(predictive, Categorical)
    return predictive
