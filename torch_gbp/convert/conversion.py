"""from_torch: marginals on the weights of any torch network, or its GBP twin where moments are to be carried."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from torch_gbp.convert.basis import followed
from torch_gbp.convert.choice import choose, copied, find, is_weight
from torch_gbp.convert.start import Options, start_anew, start_at
from torch_gbp.convert.twins import moment_twin
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind
from torch_gbp.weights.attached import Filter
from torch_gbp.weights.priors import Covariance, Prior, prior_arguments


@prior_arguments
def from_torch(
    network: nn.Module,
    *,
    moments: bool = False,
    inplace: bool = False,
    which: Filter | None = None,
    fresh: bool = False,
    as_prior: bool = False,
    inputs: Tensor | None = None,
    prior: Prior | None = None,
    covariance: Covariance = "shared",
) -> nn.Module:
    """A torch network with a Gaussian marginal on each of its weights; everything else of it stays as it is.

    The result is the same network, with the same `forward`, on tensors, and the same predictions: its weights are the marginals'
    means. `MessagePassing` learns the marginals, any torch optimizer what has none (`configure_optimizers` sets up both).
    `summary` says what became of every parameter. Tied parameters share a marginal; frozen ones stay frozen
    and plain, or with `moments` frozen and known.

    Args:
        network: any module.
        moments: replace every layer by its GBP twin instead: then a forward pass carries moments, and biases are Gaussian too.
        inplace: give marginals to this network and not to a copy.
        which: (module, qualified name) -> whether that parameter becomes Gaussian; None takes `is_weight`: weights with two axes
            or more of Linear, Conv, Embedding, attention and recurrent layers.
        fresh: start with the prior's variance, at means drawn anew, instead of at the network's weights with a small one.
            Transformers and recurrent networks (with LayerNorm, attention, embeddings or recurrent layers) are not drawn anew:
            they start at the weights with which they were built, so build a trained one anew.
        as_prior: centre the prior on the network's weights, to stay near them: for pretrained networks, above all with few
            examples. Steps are then as much shorter as the run has fewer than 500 of them.
        inputs: training inputs (n, ...), as the network gets them. If the first layer with weights is an nn.Linear, its
            prior follows their covariance (`InputBasis`); a first convolution keeps its own. Needs `fresh`.
        prior, covariance: as for `GBPLinear`, for all Gaussian weights; `Prior(mean="start")` with `moments` alone.

    Raises:
        InvalidInput: no parameter that may be Gaussian; lazy layers that have seen no input; a tied parameter that the filter
            makes Gaussian in one place and plain in another; unknown options, or ones that contradict each other.
        MissingRule: (moments) layers that have no GBP twin, all of them.

    >>> network = from_torch(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)))
    >>> [name for name, _ in network.named_buffers() if "precision" in name]
    ['1.weight_marginal.precision', '1.weight_marginal.prior_precision']
    """
    _require_sense(network, moments, inplace, which, fresh, as_prior, inputs)
    if moments:
        return moment_twin(network, fresh, as_prior, inputs, {"prior": prior, "covariance": covariance})
    options = Options("from_torch", prior, covariance)
    if inputs is not None:
        network = followed(network, inputs, fresh)
    chosen = choose(network, which or is_weight)
    if not inplace and inputs is None:
        names, network = [[place.path for place in group] for group in chosen], copied(network, "from_torch")
        chosen = [[find(network, name) for name in group] for group in names]
    if fresh:
        start_anew(network, chosen)
    for group in chosen:
        marginal = options.attach(group)
        if not fresh:
            start_at(marginal, as_prior)
    return network


def _require_sense(network: Any, moments: bool, inplace: bool, which: Any, fresh: bool, as_prior: bool, inputs: Any) -> None:
    """Raises InvalidInput for arguments that say nothing together."""
    require_kind("network", network, nn.Module, "from_torch", fix="pass a torch network")
    for name, flag in {"moments": moments, "inplace": inplace, "fresh": fresh, "as_prior": as_prior}.items():
        require_kind(name, flag, bool, "from_torch", fix="use True or False")
    clashes = {
        "moments=True makes a new network": moments and (inplace or which is not None),
        "as_prior and fresh: start at the network's weights, or anew": as_prior and fresh and not moments,
        "inputs, for a first layer that is made anew, and inplace": inputs is not None and inplace,
    }
    wrong = [text for text, clash in clashes.items() if clash]
    if wrong:
        raise InvalidInput("arguments that contradict each other", where="from_torch", got="; ".join(wrong), fix="leave one out")
