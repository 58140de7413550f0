"""What all figures share: colours that colour-blind readers tell apart, the look of each method, panels and their titles."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

DPI, SIZE = 150, (3.9, 3.2)  # pixels per inch, inches of a panel
# Okabe & Ito's colours, told apart by colour-blind readers too, and a grey.
OURS, TRUTH, REFERENCE, BLACK, GREEN = "#D55E00", "#0072B2", "#8C8C8C", "#000000", "#009E73"
LOOKS = {  # colour and line of a method; one family, one colour
    **{name: (OURS, line) for name, line in (("gbp", "-"), ("gbp_basis", "--"), ("gbp_onehot", "-."), ("gbp_argmax", ":"))},
    **{name: (BLACK, line) for name, line in (("adamw", "-"), ("adamw_tail", "--"))},
    **{name: (REFERENCE, line) for name, line in (("sgd", "-"), ("sgd_momentum", "--"), ("linear_adam", "-"))},
    **{name: (colour, "-") for name, colour in (("ivon", TRUTH), ("vi", GREEN), ("laplace", "#CC79A7"), ("ensemble", "#E69F00"))},
    **{name: (GREEN, line) for name, line in (("dropout", "--"), ("dropout_tail", ":"), ("swag", "-."))},
    **{name: ("#CC79A7", line) for name, line in (("laplace_held_out", "--"), ("vbll", "-."))},
    **{f"graph{name}": (OURS, line) for name, line in (("", "-"), ("_random", "--"), ("_pixels", "-."), ("_joint", ":"))},
    **{name: (TRUTH, line) for name, line in (("cnn_adam", "-"), ("cnn_adam_replay", "--"))},
    "gbp_means": (OURS, (0, (6, 1, 1, 1, 1, 1))),
    "gbp_dropout": (OURS, (0, (1, 2))),
    "sgd_squares": (REFERENCE, ":"),
}


def make_panels(count: int, columns: int = 3, size: tuple[float, float] = SIZE, dpi: int = DPI) -> tuple[Figure, list[Any]]:
    """A figure with so many panels, row by row."""
    lines, columns = -(-count // columns), min(count, columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * lines), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def dress(axes: Any, title: str, x_title: str, y_title: str) -> None:
    """Titles and a light grid."""
    axes.set_title(title, loc="left", fontsize=9, weight="bold")
    axes.set_xlabel(x_title, fontsize=8)
    axes.set_ylabel(y_title, fontsize=8)
    axes.tick_params(labelsize=7.5)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def plain_numbers(axis: Any) -> None:
    """Decimals on a logarithmic axis, at 1, 1.5, 2, 3, 5 and 7 times the powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
