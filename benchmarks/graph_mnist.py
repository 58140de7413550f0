"""Deep factor graphs: one pass over the images with conv - max-pool - dense, by iterated inference and by its rivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torch_gbp as gbp
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import QUICK_SCORED, SUBSET_SEED, VALIDATION
from lightning_modules.data.images import load_cifar10, load_fashion_mnist, load_mnist
from lightning_modules.evaluation import classification_scores
from torch_gbp.rules import linearised

LOADERS: dict[str, Callable[..., Any]] = {
    "mnist": lambda folder, _: load_mnist(folder),
    "fashion": lambda folder, _: load_fashion_mnist(folder),
    "cifar10": lambda folder, altered: load_cifar10(folder, accept_altered=altered),
}
LIMITS = (50, 100, 300, 600, 1000, 3000, 6000, 60000)
BATCH, CHUNK, QUICK_LIMIT = 50, 500, 100
SIGMA = 0.01
START = 0.1  # standard deviation of the random weights of the first linearisation, in both layers
PUBLISHED = {"mnist": 98.16, "fashion": 88.2, "cifar10": 53.1}
ADAM_RATE, REPLAYS = 1e-3, 10


class Pacing(NamedTuple):
    """How often the messages of a batch are iterated, and how they are damped."""

    iterations: int
    damping: float
    weight_damping: float


SUMMED = Pacing(32, 0.65, 0.92)
LATER = Pacing(16, 0.65, 0.6)  # of summed messages, once the filters have their shape
FORMING = 20  # batches until then
RANDOM = Pacing(64, 0.65, 0.97)  # asynchronous: a layer may answer several times before another one hears of it
JOINT = Pacing(16, 0.5, 0.5)  # joint filters need less damping, so fewer iterations; each takes longer


class Images(NamedTuple):
    """Images in [0, 1] and their labels."""

    x: Tensor
    y: Tensor
    scored_x: Tensor
    scored_y: Tensor


def run(request: Request, validation: bool = False) -> Result:
    """Every number of images and method, scored on the test images, or on the last training images (`validation`)."""
    settings = {
        "summed": SUMMED._asdict(),
        "summed_later": {"from_batch": FORMING, **LATER._asdict()},
        "random": RANDOM._asdict(),
        "joint": JOINT._asdict(),
        "sigma": SIGMA,
        "batch": BATCH,
        "start": START,
    }
    adam = {"adam_rate": ADAM_RATE, "replays": REPLAYS}
    return Result(
        {**settings, **adam, "published": PUBLISHED, "limits": LIMITS, "subset_seed": SUBSET_SEED}, _rows(request, validation)
    )


def _rows(request: Request, validation: bool) -> Iterator[Row]:
    name = request.net or "mnist"
    if name not in LOADERS:
        raise SystemExit(f"no data set {name!r} in this benchmark: use {', '.join(LOADERS)}")
    images = load_images(name, request, validation)
    for limit in [QUICK_LIMIT] if request.quick else [request.limit] if request.limit else LIMITS:
        for seed in request.seeds[: 1 if request.quick else None]:
            for method in request.methods or METHODS:
                yield _row(name, method, images, min(limit, len(images.x)), seed)


def load_images(name: str, request: Request, validation: bool) -> Images:
    """Training and test images, or (`validation`) all but the last training images and those."""
    found = LOADERS[name](request.data_dir, request.accept_altered)
    scored = QUICK_SCORED if request.quick else None
    test = found.test_x[:scored].float() / 255, found.test_y[:scored]
    images = Images(found.train_x.float() / 255, found.train_y, *test)
    if not validation:
        return images
    size = min(VALIDATION, len(images.x) // 2)
    return Images(images.x[:-size], images.y[:-size], images.x[-size:][:scored], images.y[-size:][:scored])


def drawn(images: Images, limit: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training images of the seed, the same for every method, which sets its random numbers too."""
    order = torch.randperm(len(images.x), generator=torch.Generator().manual_seed(SUBSET_SEED + seed))[:limit]
    torch.manual_seed(seed)
    return images.x[order], images.y[order]


def _row(name: str, method: str, images: Images, limit: int, seed: int) -> Row:
    x, y = drawn(images, limit, seed)
    started, used = time.perf_counter(), time.process_time()
    predict = METHODS[method](x, y)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    with torch.no_grad():
        logs = torch.cat([predict(chunk) for chunk in images.scored_x.split(CHUNK)])
    case: Row = {"net": name, "limit": limit, "seed": seed, "epochs": 1}
    found = classification_scores(logs, images.scored_y)
    say(case, f"{method}: {100 * found['accuracy']:.2f} % in {seconds:.0f} s, {used:.0f} s of the processor")
    return {"method": method, **case, **found, "train_seconds": seconds, "processor_seconds": used}


def network(shape: torch.Size, joint: bool = False, kernel: int = 5) -> nn.Sequential:
    """16 filters, LeakyReLU of slope 0.2 inside the factor, max-pool, dense; the published noises and priors."""
    factor: dict[str, Any] = {"shared_precision": False, "bias_variance": 0.1**2, "noise": SIGMA}
    bend = gbp.GBPLeakyReLU(0.2, rule=linearised.LEAKY_RELU)
    side = (shape[-1] - kernel + 1) // 2
    filters = gbp.GBPConv2d(
        shape[0], 16, kernel, prior_variance=0.1**2, activation=bend, activation_sigma=3.0, linearise=True, joint=joint, **factor
    )
    dense = gbp.GBPLinear(
        16 * side * side, 10, prior_variance=0.15**2, activation_sigma=2.0, joint=True, linearise=True, **factor
    )
    for layer in (filters, dense):
        layer.weight.prior = layer.weight.prior._replace(start_deviation=START)
        layer.reset_parameters()
    return nn.Sequential(filters, gbp.GBPMaxPool2d(2, noise=SIGMA, activation_sigma=3.0), nn.Flatten(), dense)


def one_pass(
    model: nn.Module, make: type[gbp.LayerSweeps], x: Tensor, y: Tensor, pacing: Pacing, later: Pacing
) -> gbp.SquaredSoftmax:
    """Trains the network on every batch once, the first ones at one pace and the others at a later one; gives the likelihood."""
    likelihood = gbp.SquaredSoftmax(SIGMA)
    propagate = gbp.MessagePassing(model.parameters(), num_data=len(x), store=gbp.Filtering(), epochs=None)
    first, then = _inference(make, pacing), _inference(make, later)
    for number, batch in enumerate(torch.arange(len(x)).split(BATCH)):
        (first if number < FORMING else then)(model, likelihood, propagate, x[batch], y[batch])
    return likelihood


def _inference(make: type[gbp.LayerSweeps], pacing: Pacing) -> gbp.Inference:
    order = make(weight_damping=pacing.weight_damping, check=pacing.iterations)
    return gbp.Inference(pacing.iterations, damping=pacing.damping, order=order)


def _graph(make: type[gbp.LayerSweeps], joint: bool, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    model = network(x.shape[1:], joint)
    paces = (JOINT, JOINT) if joint else (RANDOM, RANDOM) if make is gbp.RandomLayers else (SUMMED, LATER)
    likelihood = one_pass(model, make, x, y, *paces)
    return lambda chunk: likelihood.predictive(model(chunk)).logits  # type: ignore[attr-defined]


def _adam(net: Callable[[torch.Size], nn.Module], replays: int, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """One pass in the same batches; with replays every new batch is followed by so many of the images seen so far."""
    model = net(x.shape[1:])
    optimizer = torch.optim.Adam(model.parameters(), lr=ADAM_RATE)
    for batch in torch.arange(len(x)).split(BATCH):
        seen = int(batch[-1]) + 1
        for part in [batch, *(torch.randint(seen, (BATCH,)) for _ in range(replays))]:
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    return lambda chunk: torch.log_softmax(model(chunk), 1)


def _cnn(shape: torch.Size) -> nn.Module:
    side = (shape[-1] - 4) // 2
    features = nn.Conv2d(shape[0], 16, 5), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*features, nn.Linear(16 * side * side, 10))


def _linear(shape: torch.Size) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), 10))


METHODS: dict[str, Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]] = {
    "graph": partial(_graph, gbp.LayerSweeps, False),
    "graph_random": partial(_graph, gbp.RandomLayers, False),
    "graph_joint": partial(_graph, gbp.LayerSweeps, True),
    "linear_adam": lambda x, y: _adam(_linear, 0, x, y),
    "cnn_adam": lambda x, y: _adam(_cnn, 0, x, y),
    "cnn_adam_replay": lambda x, y: _adam(_cnn, REPLAYS, x, y),
}
