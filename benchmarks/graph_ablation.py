"""What each part of the one-pass recipe brings, one part changed at a time, scored on held-out training images."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.graph_mnist import QUICK_LIMIT, by_graph, drawn, load_images, scores
from benchmarks.graph_mnist_table import DATA
from benchmarks.graph_recipes import LATER, NARROW, RECIPES, SUMMED, Recipe
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Request, Result, Row, say
from benchmarks.splits import SUBSET_SEED, VALIDATION

LIMITS = {"mnist": 6000, "fashion": 6000, "cifar10": 3000}
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


def run(request: Request) -> Result:
    """Every variant on every data set, or on that of `--net`."""
    told = {name: recipe.told() for name, recipe in VARIANTS.items()}
    return Result({"variants": told, "scored": f"{VALIDATION} held-out images", "subset_seed": SUBSET_SEED}, _rows(request))


def _rows(request: Request) -> Iterator[Row]:
    for name in [request.net] if request.net else LIMITS:
        images = load_images(name, request, validation=True)
        for seed in request.seeds[: 1 if request.quick else None]:
            for variant, recipe in VARIANTS.items():
                x, y = drawn(images, QUICK_LIMIT if request.quick else request.limit or LIMITS[name], seed)
                found = scores(by_graph(recipe, name, x, y), images)
                told = {"net": name, "limit": len(x), "seed": seed, "epochs": 1}
                say(told, f"{variant}: {100 * found['accuracy']:.2f} %, NLL {found['nll']:.3f}")
                yield {"method": "graph", **told, "settings": {"variant": variant}, **found}


def table(rows: list[Row]) -> str:
    """A line for each variant, two columns for each data set: accuracy in percent, and NLL."""
    names = [name for name in DATA if any(row["net"] == name for row in rows)]
    if not names:
        return NOT_RUN
    headings = [f"{DATA[name]}, {LIMITS[name]:,}: {score}" for name in names for score in ("accuracy", "NLL")]
    own = {variant: [row for row in rows if row["settings"]["variant"] == variant] for variant in VARIANTS}
    return grid(["", *headings], [[variant, *_cells(found, names)] for variant, found in own.items() if found])


def _cells(rows: list[Row], names: list[str]) -> list[str]:
    """Those of one line."""
    own = ([row for row in rows if row["net"] == name] for name in names)
    return [cell for found in own for cell in (number(found, "accuracy", 2, 100), number(found, "nll", 3))]
