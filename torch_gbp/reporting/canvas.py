"""Canvas: small matplotlib figures as inline SVG, whose colours are the page's own, in its light and its dark form."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Colours that stand for the page's variables: matplotlib writes them, the page says what they are.
INK, LINE, BAND, WRONG, RIGHT = (f"#0a0b{number:02x}" for number in range(5))
VARIABLES = {INK: "--ink", LINE: "--line", BAND: "--band", WRONG: "--wrong", RIGHT: "--right"}
MOST_MODELS = 8  # with a colour of their own
DASHES = ((4, 2), (1, 1.5), (6, 2, 1, 2), (8, 1.5), (2, 4))  # of sets of other inputs, in their order: drawn and left out
WIDTH, HEIGHT = 4.2, 3.2  # inches of a panel; the page scales it

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and in the page's font
    "svg.hashsalt": "torch_gbp",  # the same figure, the same bytes
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.4,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def colour(number: int) -> str:
    """Colour of the model of this number, as the page's variable `--m0`, `--m1`, ..."""
    return f"#0c0d{number:02x}"


def panel(draw: Callable[[Any], None], label: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """One axes, drawn by `draw`, as an SVG element for the page.

    Args:
        draw: gets the axes; text with names of a user's must not reach it (a dollar sign would be read as mathematics).
        label: what the picture shows, for those who do not see it.

    >>> panel(lambda axes: axes.plot([0, 1]), "a line").startswith('<svg role="img" aria-label="a line"')
    True
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(left=0.155, right=0.965, bottom=0.47 / height, top=1 - 0.08 / height)
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return _inline(file.getvalue(), label)


def _inline(text: str, label: str) -> str:
    """The SVG element alone, in the page's colours and at the page's width."""
    element = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg ") :], flags=re.DOTALL).strip()
    names = {**VARIABLES, **{colour(number): f"--m{number}" for number in range(MOST_MODELS)}}
    for hexadecimal, name in names.items():
        element = element.replace(hexadecimal, f"var({name})")
    element = re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2)
    return element.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)
