"""Draws two_sweeps.svg: what both sweeps send through a network with one unit a layer, computed by torch_gbp.

python -m docs.figures.two_sweeps
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch
from torch import Tensor

import torch_gbp as gbp

FORWARD, BACKWARD, PROBE, AFTER, GREY = "#1f5fa8", "#c2570c", "#7a3d99", "#2a7d3b", "#555555"
CHAIN = {"x": 0.0, "z1": 3.0, "a": 6.0, "z2": 9.0, "y": 12.0}  # variables, and where they stand
BOXES = {1.5: "linear", 4.5: "LeakyReLU", 7.5: "linear", 10.5: "likelihood"}
WEIGHTS = {"W1": 1.5, "W2": 7.5}
LABEL = {"x": "$x$", "z1": "$z_1$", "a": "$a$", "z2": "$z_2$", "y": "$y$", "W1": "$W_1$", "W2": "$W_2$"}
TOP, BOTTOM = 0.0, -6.0  # height of the chain of the moment sweep, and of the means sweep

Curve = tuple[float, float]  # mean and variance


def computed() -> dict[str, tuple[Curve, Curve]]:
    """The belief of every variable and the message that comes back to it: one example, two weights, Gaussian noise."""
    first, last = (gbp.GBPLinear(1, 1, bias=False, prior=gbp.Prior(0.25), covariance="diagonal") for _ in range(2))
    for layer, mean in ((first, 0.9), (last, 0.7)):
        layer.weight.mean.data.fill_(mean)
        layer.weight.precision.data.fill_(4.0)
    z1 = first(torch.tensor([[1.2]]))
    a = gbp.GBPLeakyReLU(0.1)(z1)
    z2 = last(a)
    inner = {"z1": z1, "a": a, "z2": z2}
    for belief in inner.values():
        belief.mean.retain_grad()
        belief.variance.retain_grad()
    gbp.Regression(0.15)(z2, torch.tensor([[2.0]])).backward()
    found = {name: curves(one.mean, one.variance, one.mean.grad, one.variance.grad) for name, one in inner.items()}
    for name, weight in (("W1", first.weight), ("W2", last.weight)):
        found[name] = curves(weight.mean, 1 / weight.precision, weight.mean.grad, weight.precision.grad)
    return found


def curves(mean: Tensor, variance: Tensor, by_mean: Tensor | None, by_variance: Tensor | None) -> tuple[Curve, Curve]:
    """A belief, and its message from the gradients (-g, G / 2): precision G around m + g / G."""
    assert by_mean is not None and by_variance is not None
    score, precision = -by_mean.item(), 2 * by_variance.item()
    return (mean.item(), variance.item()), (mean.item() + score / precision, 1 / precision)


def bell(axes: Axes, place: tuple[float, float], curve: Curve, color: str, fill: bool = True) -> None:
    """A density in a small frame from -1 to 3."""
    mean, variance = curve
    at = torch.linspace(-1, 3, 80)
    density = torch.exp(-0.5 * (at - mean) ** 2 / variance) / variance**0.5
    x, y = place[0] + (at - 1) * 0.42, place[1] + 0.42 * density.clamp(max=3)
    axes.plot(x, y, color=color, lw=1.4)
    if fill:
        axes.fill_between(x, place[1], y, color=color, alpha=0.16, lw=0)
    axes.plot([x[0], x[-1]], [place[1]] * 2, color=GREY, lw=0.6)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, text: str = "", line: str = "-") -> None:
    """An arrow along the chain, or one down with what it carries beside it."""
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.5, "shrinkA": 0, "shrinkB": 0, "linestyle": line}
    axes.annotate("", end, start, arrowprops=style)
    axes.text(start[0] + 0.12, (start[1] + end[1]) / 2, text, color=color, va="center", fontsize=9)


def nodes(axes: Axes, height: float, boxes: dict[float, str]) -> None:
    """Variables as circles, factors as boxes, observed ones filled."""
    weights = [(name, (place, height - 2.3)) for name, place in WEIGHTS.items()]
    for name, (x, y) in [(name, (place, height)) for name, place in CHAIN.items()] + weights:
        seen = name in ("x", "y")
        axes.add_patch(Circle((x, y), 0.36, fc="#d9d9d9" if seen else "white", ec="black", lw=1.1, zorder=3))
        axes.text(x, y, LABEL[name], ha="center", va="center", fontsize=11, zorder=4)
    for x, text in boxes.items():
        box = FancyBboxPatch((x - 0.55, height - 0.3), 1.1, 0.6, "round,pad=0.05", fc="#f2f2f2", ec="black", lw=1.1, zorder=3)
        axes.add_patch(box)
        axes.text(x, height, text, ha="center", va="center", fontsize=7.3, zorder=4)


def exchange(axes: Axes, height: float, forward: str, backward: str) -> None:
    """The arrows along the chain."""
    for x in (0.4, 2.14, 3.4, 5.14, 6.4, 8.14, 9.4):
        arrow(axes, (x, height + 0.12), (x + 0.46, height + 0.12), FORWARD)
    for x in (3.4, 5.14, 6.4, 8.14, 9.4):
        arrow(axes, (x + 0.46, height - 0.12), (x, height - 0.12), BACKWARD)
    arrow(axes, (11.6, height), (11.14, height), GREY)
    axes.text(1.95, height + 0.5, forward, color=FORWARD, ha="left", fontsize=9)
    axes.text(9.75, height - 0.62, backward, color=BACKWARD, ha="center", fontsize=9)


def moment_sweep(axes: Axes) -> None:
    """The upper half: beliefs forward, messages backward, a product at every weight."""
    nodes(axes, TOP, BOXES)
    exchange(axes, TOP, "mean, variance", "score g, precision G")
    for name, (belief, message) in computed().items():
        if name in CHAIN:
            bell(axes, (CHAIN[name], TOP + 0.85), belief, FORWARD)
            bell(axes, (CHAIN[name], TOP + 0.85), message, BACKWARD, fill=False)
            continue
        place = WEIGHTS[name]
        arrow(axes, (place, TOP - 0.4), (place, TOP - 1.9), BACKWARD, "g, G")
        bell(axes, (place + 1.9, TOP - 2.6), belief, FORWARD)
        bell(axes, (place + 1.9, TOP - 2.6), product(belief, message), AFTER)
    axes.text(10.3, TOP + 1.35, "belief", color=FORWARD, fontsize=9)
    axes.text(10.3, TOP + 0.95, "message", color=BACKWARD, fontsize=9)
    axes.text(3.4, TOP - 3.05, "marginal before and after the step", color=AFTER, ha="center", fontsize=8)
    title(axes, TOP + 2.55, "Moment sweep", "GBP layers: forward every variable is a belief, backward it gets a message")


def product(belief: Curve, message: Curve) -> Curve:
    """Belief times message: precisions add, means weigh by them."""
    precision = 1 / belief[1] + 1 / message[1]
    return (belief[0] / belief[1] + message[0] / message[1]) / precision, 1 / precision


def means_sweep(axes: Axes) -> None:
    """The lower half: a plain forward and backward pass, and now and then a probe."""
    nodes(axes, BOTTOM, {1.5: "nn.Linear", 4.5: "any module", 7.5: "nn.Linear", 10.5: "likelihood"})
    exchange(axes, BOTTOM, "tensor at the means", "gradient, -g")
    for place in WEIGHTS.values():
        arrow(axes, (place - 0.12, BOTTOM - 0.4), (place - 0.12, BOTTOM - 1.9), BACKWARD)
        arrow(axes, (place + 0.12, BOTTOM - 0.4), (place + 0.12, BOTTOM - 1.9), PROBE, "squared: G", line="--")
        axes.text(place - 0.24, BOTTOM - 1.15, "g", color=BACKWARD, ha="right", va="center", fontsize=9)
    axes.plot([10.5, 10.5, 1.5], [BOTTOM + 0.35, BOTTOM + 1.0, BOTTOM + 1.0], color=PROBE, lw=1.5, ls="--")
    for place in WEIGHTS.values():
        arrow(axes, (place, BOTTOM + 1.0), (place, BOTTOM + 0.4), PROBE, line="--")
    text = "a probe, every few steps: the score of a target drawn from the network's own prediction"
    axes.text(10.5, BOTTOM + 1.2, text, color=PROBE, ha="right", fontsize=9)
    title(axes, BOTTOM + 1.85, "Means sweep", "any torch network: torch's own passes at the means; the weights alone are beliefs")


def title(axes: Axes, height: float, name: str, text: str) -> None:
    """A heading and what it says."""
    axes.text(-0.6, height, name, fontsize=12, fontweight="bold", ha="left")
    axes.text(2.3, height, text, fontsize=9, ha="left", color=GREY)


def main() -> None:
    """Writes the figure beside this file."""
    mpl.rcParams.update({"svg.hashsalt": "two sweeps", "font.family": "DejaVu Sans"})
    figure, axes = plt.subplots(figsize=(10.5, 9.0))
    axes.set(xlim=(-0.8, 12.6), ylim=(BOTTOM - 2.9, TOP + 3.0), aspect="equal")
    axes.axis("off")
    moment_sweep(axes)
    means_sweep(axes)
    figure.savefig(Path(__file__).with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
