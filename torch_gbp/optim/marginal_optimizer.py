"""MarginalOptimizer: a torch optimizer whose parameters are marginals; its groups and its saved state."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import chain
from typing import Any

from torch.optim import Optimizer

from torch_gbp.errors import InvalidInput
from torch_gbp.optim.settings import check_group, check_saved, kind
from torch_gbp.optim.stores import Store
from torch_gbp.optim.update_checks import owners
from torch_gbp.weights.parameter import GaussianParameter


def moves_weights(marginal: GaussianParameter) -> bool:
    """Whether a marginal is of the weights of a layer that learns, and not of biases or of a frozen layer."""
    return marginal.mean.ndim > 1 and marginal.mean.requires_grad


class MarginalOptimizer(Optimizer):
    """A torch optimizer over the means and precisions of Gaussian parameters, which come in pairs, and over a store.

    Args:
        params: as in torch, of Gaussian parameters.
        defaults: settings of the groups that have none of their own.
        store: what is remembered of every marginal, in the optimizer's state of its mean.

    Raises:
        InvalidInput: parameters that are not Gaussian or not in pairs; settings out of range.
    """

    def __init__(self, params: Any, defaults: dict[str, Any], store: Store) -> None:
        self.store = store
        self._owned: list[list[GaussianParameter]] = []  # the marginals of each parameter group
        super().__init__(params, defaults)

    def attach(self, marginal: GaussianParameter) -> None:
        """Called with every marginal that joins."""

    def close(self) -> None:
        """Called before the state is exchanged: ends what is under way."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        check_group(self.defaults | param_group)
        super().add_param_group(param_group)
        try:
            self._owned.append(owners(self.param_groups[-1]))
        except InvalidInput:
            self.param_groups.pop()
            raise
        for marginal in self._owned[-1]:
            self.attach(marginal)

    def __getstate__(self) -> Any:
        raise InvalidInput(
            "an optimizer of marginals is neither copied nor pickled: it hears sweeps by hooks on its own network",
            where=type(self).__name__,
            cause="copy.deepcopy, pickle or torch.save of the optimizer itself",
            fix="make a new one for the copied network, and hand it optimizer.state_dict()",
        )

    @property
    def marginals(self) -> list[GaussianParameter]:
        """The marginals of all parameters."""
        return list(chain.from_iterable(self._owned))

    @property
    def layers(self) -> int:
        """How many layers with weights that carry moments the optimizer moves; biases and frozen layers do not count."""
        return sum(own.moments and moves_weights(own) for own in self.marginals)

    def state_dict(self) -> dict[str, Any]:
        """torch's, and the kind of the store."""
        return super().state_dict() | {"store": kind(self.store)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where the optimizer stood that gave this state.

        Raises:
            InvalidInput: another optimizer's state, another store's, or a damaged one; before anything changes.
        """
        check_saved(state_dict, self.param_groups, self._owned, self.store, set(self.defaults) - {"differentiable"})
        self.close()
        super().load_state_dict(deepcopy(state_dict))  # torch would share its tensors with the optimizer that gave it

    def _rewrite(self, change: Callable[..., None], *arguments: int) -> None:
        """Lets the store change every marginal."""
        for marginal in self.marginals:
            change(marginal, self.state[marginal.mean], *arguments)
            marginal.mark_written()
