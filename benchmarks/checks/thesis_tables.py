"""The thesis' tables 5.1 to 5.3 and the numbers that its text tells of figures 5.7 to 5.12, each beside ours."""

from __future__ import annotations

from statistics import mean

from benchmarks.checks.thesis_nets import LIMITS, NETS, PUBLISHED, TABLE
from benchmarks.checks.thesis_ways import WAYS
from benchmarks.markdown import PERCENT, Column, Line, crossed, grid, number
from benchmarks.results import Row, matching

METHODS = {
    "gbp_onehot": "one-hot (R-MP)",
    "gbp_argmax": "argmax (AM-MP)",
    "gbp_argmax_plain": "argmax without +-1 (AMNR-MP)",
    "gbp": "softmax (SM-MP)",
    "sgd_squares": "SGD, squares (R-SGD)",
    "sgd": "SGD, softmax (SM-SGD)",
    "adamw": "AdamW",
    "sgd_momentum": "SGD with momentum",
}
OURS = {
    "published": "published",
    "sequential": "in its order",
    "averaged": "**torch_gbp as it comes**",
    "plain": "here, as published",
    "searched": "searched, with torch_gbp's passes",
}
SCORES = {
    "vector_ece": "calibration error (of probability vectors)",
    "relative_auc": "area under the relative calibration curve",
    "ood_auroc": "area under the ROC curve, FashionMNIST",
}
LONGEST = "one-hot, times as long in its order as it comes"


def accuracies(rows: list[Row]) -> str:
    """Table 5.1: a line for each network, method and way, a column for each number of images."""
    both = [*_published(), *rows]
    lines = [
        Line([NETS[net].title, title, told], {"net": net, "method": method, "order": order})
        for net in TABLE
        for method, title in METHODS.items()
        for order, told in OURS.items()
    ]
    columns = [Column(f"{limit:,}", PERCENT, {"limit": limit}) for limit in LIMITS]
    return crossed(both, ["network", "method", ""], lines, columns) + _ratios(rows)


def _ratios(rows: list[Row]) -> str:
    """A last line: how many times longer the one-hot method takes in the thesis' order."""
    cells = [NETS["mlp"].title, LONGEST, ""]
    for limit in LIMITS:
        own = matching(rows, net="mlp", method="gbp_onehot", limit=limit)
        found = [
            [row["train_seconds"] for row in matching(own, order=order) if "train_seconds" in row] for order in list(WAYS)[:2]
        ]
        cells.append(f"{mean(found[0]) / mean(found[1]):.0f}x" if all(found) else "-")
    return f"| {' | '.join(cells)} |\n"


def _published() -> list[Row]:
    """The thesis' accuracies as rows."""
    return [
        {"net": net, "method": method, "order": "published", "limit": limit, "accuracy": accuracy / 100}
        for net, methods in PUBLISHED["accuracy"].items()
        for method, accuracies in methods.items()
        for limit, accuracy in zip(LIMITS, accuracies, strict=False)
    ]


def widths(rows: list[Row]) -> str:
    """Table 5.2, the MLP of 5.6 million weights and those of table 5.3: accuracy and area under the relative curve."""
    lines = []
    for net, published in PUBLISHED["widths"].items():
        title = NETS[net].title
        for method, told in published.items():
            scores = [f"{told[0]:.2f}", f"{told[1]:.4f}" if len(told) > 1 else "-"]
            lines.append([title, METHODS.get(method, method), "published", "", *scores])
        for method, told in METHODS.items():
            if own := matching(rows, net=net, method=method, order="averaged"):
                images, epochs = own[0]["limit"], own[0]["epochs"]
                scores = [number(own, "accuracy", 2, 100), number(own, "relative_auc", 4)]
                lines.append([title, told, OURS["averaged"], f"{images:,} images, {epochs} passes", *scores])
    return grid(["network", "method", "", "trained on", "accuracy", "relative calibration"], lines)


def scores(rows: list[Row]) -> str:
    """Every number that the text tells of figures 5.7 to 5.12, beside ours; SGD as published, and AdamW, searched, beside it."""
    lines = []
    for told in PUBLISHED["figures"]:
        own = matching(rows, net=told["net"], limit=told["limit"])
        order = "averaged" if told["method"].startswith("gbp") else "plain"
        ours = matching(own, method=told["method"], order=order)
        key, case = told["score"], f"{NETS[told['net']].title}, {told['limit']:,} images"
        best = number(matching(own, method="adamw"), key, 4)
        cells = [told["figure"], case, SCORES[key], METHODS[told["method"]], f"{told['value']:.4f}", number(ours, key, 4), best]
        lines.append(cells)
    return grid(["figure", "network", "score", "method", "published", "here", "AdamW, searched"], lines)
