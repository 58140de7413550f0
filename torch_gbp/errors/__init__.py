"""Named errors, each saying what is wrong, where, what was found, the usual cause and the way out.

All of them are raised before a marginal changes, so the model stays usable after the error.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor


class GBPError(Exception):
    """Base class of every error raised by torch_gbp; the parts left empty do not appear.

    >>> print(InvalidInput("the batch is empty", where="GBPLinear", fix="skip empty batches"))
    the batch is empty (in GBPLinear). Way out: skip empty batches.
    """

    def __init__(self, what: str, *, where: str = "", got: str = "", cause: str = "", fix: str = "") -> None:
        super().__init__(explain(what, where=where, got=got, cause=cause, fix=fix))


class InvalidInput(GBPError, ValueError):
    """An input tensor, a target or an argument that cannot be used."""


class MissingRule(GBPError, TypeError):
    """An operation without message rule was applied to a Gaussian."""


class ImproperMarginal(GBPError, ArithmeticError):
    """A product or quotient of messages that has no finite mean and positive variance."""


class Diverged(GBPError, ArithmeticError):
    """Iterated messages that diverge: an energy that grows without end, or a mean where no posterior can be.

    Raised by `FactorGraph` and `Denoiser` (energy), and by `MessagePassing` with `BatchSites` (distance from the prior).
    """


class ForeignUpdate(GBPError, RuntimeError):
    """Somebody other than message passing wrote to a marginal."""


class Repartitioned(GBPError, ValueError):
    """A batch came back with other examples than the ones its stored site speaks for."""


class OutOfMemory(GBPError, MemoryError):
    """What a store would keep does not fit into memory."""


class NotLearning(UserWarning):
    """A run that says nothing about the targets after a fifth of it, or less than at first; iterated messages that harm."""


class FarFromStandard(UserWarning):
    """Inputs or targets whose mean or scale is far from 0 and 1, for which priors and rates are made."""


class DividedLoss(UserWarning):
    """A loss that was divided by the size of its batch, so that an example counts for less than one."""


class Miscounted(UserWarning):
    """A pass that gives more examples than the number of which the optimizer was told, so that its schedule ends early."""


class DependentTerms(UserWarning):
    """A prediction by moments of a plain network that adds up terms which may depend on each other."""


def require_positive(values: Tensor, name: str, cause: str) -> None:
    """Raises ImproperMarginal, with the number of bad entries and the worst, unless all values are positive."""
    bad = ~(values > 0)
    if bad.any():
        raise ImproperMarginal(
            f"{int(bad.sum())} of {values.numel()} entries have no positive {name}",
            got=f"worst value {values.min().item():.3g}",
            cause=cause,
            fix="lower the rate, or keep the marginal from before",
        )


def explain(what: str, *, where: str = "", got: str = "", cause: str = "", fix: str = "") -> str:
    """Joins the parts of an error text, leaving out the empty ones."""
    text = what.rstrip(".") + (f" (in {where})" if where else "") + "."
    for label, part in (("Got", got), ("Usual cause", cause), ("Way out", fix)):
        text += f" {label}: {part}." if part else ""
    return text


def missing_rule(function: Callable[..., Any], trained: bool = False) -> MissingRule:
    """The error for a torch function applied to a Gaussian: names it, and what to use instead.

    `trained` is whether it has a moment map, and messages of GBP layers would have to come back through it.
    """
    name = getattr(function, "__name__", str(function))
    own = SUBSTITUTES.get(name, "a GBP layer (GBPActivation if it is elementwise), or write a factor (see torch_gbp/factors)")
    if trained:
        return MissingRule(
            f"torch function '{name}' has no message rule and cannot follow a GBP layer that is trained",
            cause="a plain torch layer or function in a network of GBP layers",
            fix=f"use {own}; or predict by its moment map, under torch.no_grad()",
        )
    return MissingRule(
        f"torch function '{name}' has no message rule and cannot be applied to a Gaussian",
        cause="a torch layer or function without moment map",
        fix=f"use {own}; or register a moment map with @torch_gbp.moments(f), or predict by samples",
    )


SUBSTITUTES = {  # function of torch: what to use instead; layers add theirs (layers/__init__.py)
    "mean": "GBPAvgPool2d, or the tensor belief.mean", "sum": "`+` of its slices, or GBPAvgPool2d",
    "softmax": "likelihood.predictive(output)", "log_softmax": "likelihood.predictive(output)",
    "cross_entropy": "torch_gbp.Softmax", "cross_entropy_loss": "torch_gbp.Softmax",
    "binary_cross_entropy_with_logits": "torch_gbp.Softmax with two outputs", "mse_loss": "torch_gbp.Regression",
}  # fmt: skip
