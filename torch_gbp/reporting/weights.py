"""Weights and training: signal-to-noise ratios of the marginals, and the curves of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from torch_gbp import marginals
from torch_gbp.errors import InvalidInput
from torch_gbp.reporting.canvas import INK, colour
from torch_gbp.reporting.curves import Array

Drawing = Callable[[Any], None]
Curves = dict[str, Array]
RATIOS = np.logspace(-3, 3, 49)  # bins of |mean| / deviation


def signal_to_noise(network: nn.Module) -> dict[str, Array]:
    """Signal-to-noise ratio |mean| / standard deviation of every weight, by the name of its marginal; empty without marginals.

    >>> import torch_gbp as gbp
    >>> {name: ratio.shape for name, ratio in signal_to_noise(gbp.GBPLinear(3, 2)).items()}
    {'weight': (6,), 'bias': (2,)}
    """
    found = {name: own.belief() for name, own in marginals(network).items()}
    return {name: (own.mean.abs() / own.variance.sqrt()).detach().flatten().cpu().double().numpy() for name, own in found.items()}


def ratio_histogram(ratios: Mapping[str, Array], number: int) -> Drawing:
    """How many weights have which ratio, on a logarithmic scale; left of 1 a weight's sign is in doubt."""

    def draw(axes: Any) -> None:
        values = np.clip(np.concatenate(list(ratios.values())), RATIOS[0], RATIOS[-1])
        axes.hist(values, RATIOS, color=colour(number), alpha=0.85)
        axes.axvline(1, color=INK, linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xlim=(RATIOS[0], RATIOS[-1]), xlabel="|mean| / standard deviation", ylabel="weights")
        axes.xaxis.set_major_formatter("{x:g}")

    return draw


def curves(history: Any, name: str) -> Curves:
    """Curves of a run by name, each a number a pass.

    Args:
        history: what `torch_gbp.Trainer.fit` returns, or curves by name, as {"evidence": [...], "rate": [...]}.
        name: of the model, for the error.

    Raises:
        InvalidInput: anything else, or nothing in it.

    >>> curves({"evidence": [-2.0, -1.0]}, "GBP")
    {'evidence': array([-2., -1.])}
    """
    try:
        given = history if isinstance(history, Mapping) else _of_passes(history)
        found = {key: np.asarray(values, dtype=float) for key, values in given.items()}
    except (TypeError, ValueError, AttributeError):
        found = {}
    if not found or any(values.ndim != 1 or not len(values) for values in found.values()):
        raise InvalidInput(
            "a history is a list of passes, or curves by name",
            where=f"the history of {name}",
            got=f"a {type(history).__name__}",
            fix="give what Trainer.fit returns, or {'evidence': [...], 'rate': [...]} with a number a pass",
        )
    return found


def _of_passes(passes: Sequence[Any]) -> dict[str, list[float]]:
    found = {"evidence": [own.log_evidence for own in passes]}
    if all(own.report is not None for own in passes):
        found["rate"] = [own.report.rate for own in passes]
    if all(own.validation is not None for own in passes):
        found["validation evidence"] = [own.validation.log_evidence for own in passes]
    return found


def run_curves(runs: Mapping[int, Array], name: str) -> Drawing:
    """One curve of several models' runs against passes; models by their numbers."""

    def draw(axes: Any) -> None:
        for number, values in runs.items():
            axes.plot(np.arange(1, len(values) + 1), values, color=colour(number), marker="o", markersize=2.5)
        axes.set(xlabel="pass", ylabel="log evidence an example" if name.endswith("evidence") else "value")

    return draw
