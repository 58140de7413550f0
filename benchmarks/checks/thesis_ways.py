"""Three ways of training a network of the thesis: in its order, as torch_gbp comes, and by gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.checks.thesis_nets import LIMITS, TABLE, Case
from benchmarks.contest import image_contest
from benchmarks.methods import METHODS
from benchmarks.methods.base import Method, Training, train
from benchmarks.methods.gradient import Descent, cross_entropy
from benchmarks.results import Request, committed
from benchmarks.tasks import Split
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

EPOCHS, BATCH = 18, 320  # of the published schedule
FIRST_LAYER = 1.5 / 784  # prior variance of the first layer in the published code; the others take its formula
RATE, PLAIN_EPOCHS, PLAIN_BATCH = 1e-3, 90, 64  # of the thesis' stochastic gradient descent


class Trained(NamedTuple):
    """A trained network: log-probabilities (n, classes) of images, and the settings that were searched."""

    log_probabilities: Callable[[Tensor], Tensor]
    settings: dict[str, Any] = {}


class Way(NamedTuple):
    """A way of training.

    Args:
        train: (what it takes of a method, network, images, passes) -> the trained network.
        methods: what it takes of each method.
        passes: (network, number of images) -> passes.
        nets: the networks that it trains; None for all.
        largest: the most images, unless the call asks for more.
    """

    train: Callable[[Any, Case, Split, int], Trained]
    methods: dict[str, Any]
    passes: Callable[[Case, int], int]
    nets: tuple[str, ...] | None = None
    largest: int = LIMITS[-1]

    def epochs(self, case: Case, images: int, request: Request) -> int:
        """The passes of the call."""
        return request.epochs or (2 if request.quick else self.passes(case, images))


def _sequential(likelihood: Callable[[], Likelihood], case: Case, split: Split, epochs: int) -> Trained:
    """As published: float64, one example after the other, exact messages, 90 sweeps of every batch in 18 passes."""
    options: dict[str, Any] = {"covariance": "diagonal", "dtype": torch.float64}
    prior = Prior(scale=1.0, mean="start")
    first = GBPLinear(784, 256, prior=Prior(FIRST_LAYER, mean="start"), **options)
    layers = [first, GBPLeakyReLU(0.1), GBPLinear(256, 256, prior=prior, **options)]
    model = nn.Sequential(nn.Flatten(), *layers, GBPLeakyReLU(0.1), GBPLinear(256, 10, prior=prior, **options))
    inference = Inference(thesis_iterations(epochs), thesis_rate, schedule=ExampleByExample())
    batches = FixedBatches(TensorDataset(split.x.double(), split.y), BATCH, seed=None)
    trainer = Trainer(model, likelihood(), epochs, store=BatchSites(), inference=inference, progress=False)
    trainer.fit(DataLoader(batches, batch_size=None, shuffle=True))
    return Trained(partial(_log_probabilities, trainer))


def _averaged(likelihood: Callable[[], Likelihood], case: Case, split: Split, epochs: int) -> Trained:
    """torch_gbp as it comes: batched messages, averaged sites, the passes and batches of `lowdata` and `mnist`."""
    plan = case.plan(len(split.x))
    trainer = Trainer(from_torch(case.make(), fresh=True, moments=True), likelihood(), epochs, progress=False)
    trainer.fit(DataLoader(TensorDataset(split.x, split.y), plan.batch, shuffle=True))
    return Trained(partial(_log_probabilities, trainer))


def _plain(loss: Callable[[Tensor, Tensor], Tensor], case: Case, split: Split, epochs: int) -> Trained:
    """The thesis' stochastic gradient descent: rate .001, no momentum, 90 passes in batches of 64."""
    network = case.make()
    method = Descent(network, torch.optim.SGD(network.parameters(), lr=RATE), loss)
    return _descended(method, split, epochs, PLAIN_BATCH)


def _searched(method: str, case: Case, split: Split, epochs: int) -> Trained:
    """A rival with the settings of the committed search, in the passes and batches of torch_gbp."""
    plan, task = case.plan(len(split.x)), "lowdata" if len(split.x) <= LIMITS[-2] else "mnist"
    chosen = image_contest(task).choose(committed(f"{task}_search"), case.name, method, epochs)
    steps = plan._replace(epochs=epochs, first_batch=plan.batch).steps(len(split.x))
    made = METHODS[method].make(Training(case.make(), split.x, split.y, epochs, steps), **chosen.settings)
    return _descended(made, split, epochs, plan.batch)._replace(settings=chosen.told)


def _descended(method: Method, split: Split, epochs: int, batch: int) -> Trained:
    method.network.train()
    for _ in range(epochs):
        train(method, split.x, split.y, torch.randperm(len(split.x)).split(batch))
    method.finish()
    method.network.eval()
    return Trained(method.log_probabilities)


def squares(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean squared error to the one-hot labels; the softmax of the outputs predicts, as in the thesis."""
    return F.mse_loss(outputs, F.one_hot(y, outputs.shape[1]).to(outputs))


def _own_passes(case: Case, images: int) -> int:
    return case.plan(images).epochs


WAYS = {
    "sequential": Way(
        _sequential,
        {
            "gbp_onehot": lambda: OneHotRegression(0.01, power=1),
            "gbp_argmax": PairwiseArgmax,
            "gbp_argmax_plain": lambda: PairwiseArgmax(regulariser_variance=None),
            "gbp": lambda: Softmax(power=1),
        },
        lambda case, images: EPOCHS,
        nets=("mlp",),
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
        _own_passes,
    ),
    "plain": Way(_plain, {"sgd_squares": squares, "sgd": cross_entropy}, lambda case, images: PLAIN_EPOCHS, TABLE),
    "searched": Way(_searched, {name: name for name in ("adamw", "sgd_momentum")}, _own_passes, TABLE),
}
METHODS_OF_WAYS = tuple(dict.fromkeys(method for way in WAYS.values() for method in way.methods))


@torch.no_grad()
def _log_probabilities(trainer: Trainer, images: Tensor) -> Tensor:
    """Of every class for every image, in the precision of the network."""
    images = images.to(next(trainer.model.parameters()).dtype)
    predictive = trainer.predict(images)
    assert isinstance(predictive, Categorical)
    return predictive.logits.float()
