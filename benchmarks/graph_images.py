"""Deep factor graphs: one pass over images with convolution - max-pool - dense, and its rivals.

`graph_ablation` changes one part of the recipe at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

import torch_gbp as gbp
from benchmarks.graph_recipes import (
    LATER,
    NARROW,
    NETS,
    PATCHES,
    PIXELS,
    RECIPES,
    SIGMA,
    START,
    SUMMED,
    Recipe,
    learned,
)
from benchmarks.graph_rivals import BATCH, LARGEST, RIVALS, Predict, choose, learned_by
from benchmarks.measure import predict
from benchmarks.results import Request, Result, Row, committed, key, say
from benchmarks.tasks import QUICK_SCORED, SUBSET_SEED, TASKS, VALIDATION, Split
from torch_gbp.errors import Diverged
from torch_gbp.metrics import classification_scores

LIMITS = (50, 100, 300, 600, 1000, 3000, 6000, 60000)
CHUNK, QUICK_LIMIT = 500, 50
PUBLISHED = {  # accuracies with all training images, by data set: GBP Learning, table 1 and section 5.3.1
    "factor graph": {"mnist": "98.16", "fashion": "88.2", "cifar10": "53.1"},
    "random layers": {"mnist": "98.11"},
    "Lucibello et al.": {"mnist": "97.40", "fashion": "88.2", "cifar10": "41.3"},  # dense layers, 100 passes
}
SEARCH = "graph_mnist_search"


def run(request: Request) -> Result:
    """Every number of images and method, scored on the test images; rivals by the settings of their search."""
    return Result({**_settings(), "published": PUBLISHED, "limits": LIMITS, "subset_seed": SUBSET_SEED}, _rows(request))


def search(request: Request) -> Result:
    """Every setting of the rivals' grids, and the factor graphs as they are, scored on the last training images; one seed."""
    scored = f"{VALIDATION} held-out images"
    return Result({**_settings(), "scored": scored, "subset_seed": SUBSET_SEED}, _searched(request))


def _settings() -> Row:
    nets = {name: net.told() for name, net in NETS.items()}
    network = {"sigma": SIGMA, "start": START, "filters": {"pixels": PIXELS, "patches": PATCHES}, "nets": nets}
    return {"recipes": {method: recipe.told() for method, recipe in RECIPES.items()}, **network, "adam_batch": BATCH}


def run_ablation(request: Request) -> Result:
    """Every variant of the recipe on every data set, or on that of `--net`, scored on held-out training images."""
    told = {name: recipe.told() for name, recipe in VARIANTS.items()}
    return Result({"variants": told, "scored": f"{VALIDATION} held-out images", "subset_seed": SUBSET_SEED}, _varied(request))


def _rows(request: Request) -> Iterator[Row]:
    (name,) = _asked(request)
    beside = request.beside.parent if request.beside else None
    images, searched = load_images(name, request, False), (beside and committed(SEARCH, beside)) or committed(SEARCH)
    for limit in [QUICK_LIMIT] if request.quick else [request.limit] if request.limit else LIMITS:
        for seed in request.runs:
            for method in request.methods or METHODS:
                choice = choose(searched, name, method, limit) if method in RIVALS else None
                learn, told = (learned_by(method, choice.settings), choice.told) if choice else (METHODS[method], {})
                yield {"method": method, **_told(name, method, learn, images, limit, seed), **told}


def _searched(request: Request) -> Iterator[Row]:
    (name,) = _asked(request)
    images, done = load_images(name, request, True), [key(row) for row in request.done]
    for limit in [QUICK_LIMIT] if request.quick else [request.limit] if request.limit else LIMITS:
        for method in request.methods or RIVALS:
            for settings in RIVALS[method].grid(limit) if method in RIVALS else [{}]:
                case: Row = {"method": method, "net": name, "limit": limit, "seed": request.seeds[0], "epochs": 1}
                if (limit <= LARGEST or request.limit) and key(case | {"settings": settings}) not in done:
                    learn = learned_by(method, settings) if settings else METHODS[method]
                    title = f"{method} {settings}"
                    yield {**case, "settings": settings, **_told(name, title, learn, images, limit, request.seeds[0])}


def _asked(request: Request) -> list[str]:
    """The network of the call, MNIST's if none is named."""
    return (request if request.net else request._replace(net="mnist")).asked(NETS)


def _varied(request: Request) -> Iterator[Row]:
    for name in [request.net] if request.net else ABLATION_LIMITS:
        images, limit = load_images(name, request, True), request.limit or ABLATION_LIMITS[name]
        for seed in request.runs:
            for title, recipe in VARIANTS.items():
                try:
                    found = _told(name, title, partial(_passed, recipe), images, QUICK_LIMIT if request.quick else limit, seed)
                except Diverged as error:  # a variant that overshoots on few images has no row
                    print(f"{name}, seed {seed}, {title}: {error}", flush=True)
                else:
                    yield {"method": "graph", "settings": {"variant": title}, **found}


def _told(name: str, title: str, learn: Callable[..., Predict], images: Split, limit: int, seed: int) -> Row:
    """The scores and times of one pass."""
    x, y = drawn(images, limit, seed)
    started, used = time.perf_counter(), time.process_time()
    log_probabilities = learn(name, x, y)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    case: Row = {"net": name, "limit": len(x), "seed": seed, "epochs": 1}
    found = classification_scores(predict(log_probabilities, images.scored_x, CHUNK), images.scored_y)
    say(
        case,
        f"{title}: {100 * found['accuracy']:.2f} %, NLL {found['nll']:.3f} in {seconds:.0f} s, {used:.0f} s of the processor",
    )
    return {**case, **found, "train_seconds": seconds, "processor_seconds": used}


def load_images(name: str, request: Request, validation: bool) -> Split:
    """Training and test images in [0, 1], or (`validation`) all but the last training images and those."""
    found = TASKS[name.split("_")[0]].load(request.data_dir, request.accept_altered)
    scored = QUICK_SCORED if request.quick else None
    test = found.test_x[:scored].float() / 255, found.test_y[:scored]
    images = Split(found.train_x.float() / 255, found.train_y, *test, {})
    if not validation:
        return images
    size = min(VALIDATION, len(images.x) // 2)
    return Split(images.x[:-size], images.y[:-size], images.x[-size:][:scored], images.y[-size:][:scored], {})


def drawn(images: Split, limit: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training images of the seed, the same for every method, which sets its random numbers too."""
    order = torch.randperm(len(images.x), generator=torch.Generator().manual_seed(SUBSET_SEED + seed))[:limit]
    torch.manual_seed(seed)
    return images.x[order], images.y[order]


def _passed(recipe: Recipe, name: str, x: Tensor, y: Tensor) -> Predict:
    """One pass with this recipe: images to log-probabilities."""
    model, likelihood = learned(recipe, name, x, y)

    @gbp.linearised_sweep()
    def predicted(chunk: Tensor) -> Tensor:
        return likelihood.predictive(model(chunk)).logits  # type: ignore[attr-defined]

    return predicted


def _by_graph(method: str, name: str, x: Tensor, y: Tensor) -> Predict:
    return _passed(RECIPES[method], name, x, y)


METHODS: dict[str, Callable[[str, Tensor, Tensor], Predict]] = {
    **{method: partial(_by_graph, method) for method in RECIPES},
    **{method: learned_by(method, rival.defaults) for method, rival in RIVALS.items()},
}
ABLATION_LIMITS = {"mnist": 6000, "fashion": 6000, "cifar10": 3000}
AS_IT_IS = RECIPES["graph"]
VARIANTS: dict[str, Recipe] = {
    "as it is": AS_IT_IS,
    "weights of the dense layer independent": AS_IT_IS._replace(smooth=False),
    "filters on pixels, damped more": AS_IT_IS._replace(basis=False, first=SUMMED, later=LATER),
    "labels with deviation .01": AS_IT_IS._replace(label_sigma=NARROW["label_sigma"]),
    "logits' prior with deviation 2": AS_IT_IS._replace(logit_sigma=NARROW["logit_sigma"]),
    "batches of 50": AS_IT_IS._replace(batch=50),
    "weights on pixels, the former recipe": RECIPES["graph_pixels"],
}
TITLES = {
    "graph": "factor graph",
    "graph_random": "random layers",
    "graph_pixels": "weights on pixels",
    "graph_joint": "joint filters",
    "linear_adam": "linear, Adam",
    "cnn_adam": "CNN, Adam",
    "cnn_adam_replay": "CNN, Adam, replay",
}
