"""Sections on the networks themselves: how sure they are of their weights, and how their training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from torch_gbp.reporting import weights
from torch_gbp.reporting.canvas import panel
from torch_gbp.reporting.curves import Array
from torch_gbp.reporting.page import Section, figure, grid, key, table

ROWS = 40  # layers of a table


def of_weights(names: Sequence[str], ratios: Mapping[int, Mapping[str, Array]]) -> Section | None:
    """Signal-to-noise ratios of the weights of every model that has marginals; None where none has."""
    known = {number: own for number, own in ratios.items() if own}
    if not known:
        return None
    text = """<p>|mean| over standard deviation of every weight. Left of the dashed line not even the sign of a weight is
known, so it could be left out at little cost; far to the right the data have settled it.</p>"""
    drawn = [figure(_histogram(i, own), _caption(own), names[i], i) for i, own in known.items()]
    tables = "".join(_by_layer(i, names[i], own) for i, own in known.items())
    return Section("weights", "Weights", text + grid(drawn) + f"<details><summary>Layer by layer</summary>{tables}</details>")


def _histogram(number: int, ratios: Mapping[str, Array]) -> str:
    return panel(weights.ratio_histogram(ratios, number), "histogram of signal-to-noise ratios of the weights", height=2.6)


def _caption(ratios: Mapping[str, Array]) -> str:
    every = np.concatenate(list(ratios.values()))
    return f"{len(every):,} weights, median {np.median(every):.2f}; {100 * np.mean(every < 1):.0f} % below 1."


def _by_layer(number: int, name: str, ratios: Mapping[str, Array]) -> str:
    rows = [
        [
            escape(layer),
            f"{len(own):,}",
            f"{np.median(own):.2f}",
            f"{100 * np.mean(own < 1):.0f} %{_bar(number, float(np.mean(own < 1)))}",
        ]
        for layer, own in list(ratios.items())[:ROWS]
    ]
    more = f'<p class="soft">and {len(ratios) - ROWS} more</p>' if len(ratios) > ROWS else ""
    return f"<h3>{key(number, name)}</h3>" + table(["marginal", "weights", "median ratio", "below 1"], rows) + more


def _bar(number: int, share: float) -> str:
    """A share as a bar in the model's colour."""
    return f'<span class="room"><span class="bar" style="--own:var(--m{number});width:{80 * share:.0f}px"></span></span>'


def of_training(names: Sequence[str], histories: Mapping[int, weights.Curves]) -> Section | None:
    """Curves of the training runs that are known, one drawing a quantity; None without any."""
    if not histories:
        return None
    quantities = dict.fromkeys(name for own in histories.values() for name in own)
    drawn = [
        _curve(quantity, names, {i: own[quantity] for i, own in histories.items() if quantity in own}) for quantity in quantities
    ]
    return Section("training", "Training", grid(drawn))


def _curve(quantity: str, names: Sequence[str], runs: Mapping[int, Array]) -> str:
    caption = " ".join(f"{key(i, names[i])} ends at {own[-1]:.4g}" for i, own in runs.items())
    return figure(panel(weights.run_curves(runs, quantity), "curves of training runs", height=2.6), caption, quantity)
