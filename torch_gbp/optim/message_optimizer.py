"""MessageOptimizer: an optimizer that knows what came to its marginals since `zero_grad`, by sweeps of messages and by probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch.optim import Optimizer

from torch_gbp.autograd.probes import EVERY, Prober
from torch_gbp.autograd.sweep import Listener, Sweep, Total, processes, rank
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.optim.marginal_optimizer import MarginalOptimizer, moves_weights
from torch_gbp.optim.message_weight import automatic_power_factor, depth, message_weight
from torch_gbp.optim.plain_parameters import PlainParameters
from torch_gbp.optim.schedule import progress_of, rate_of
from torch_gbp.optim.settings import CURVATURE, PLAIN, check_group, name_of, require_same_parts
from torch_gbp.optim.stores import AveragedSites, Run, Step, Store
from torch_gbp.optim.update import NOTHING, Update, told
from torch_gbp.optim.update_checks import has_message, require_examples
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.seeds import own_seed

_OWN = (PLAIN, "probes", "unheard", "own_rates")  # what a state has beside a torch optimizer's


class MessageOptimizer(MarginalOptimizer):
    """An optimizer over marginals, with a torch optimizer beside it, and the messages of the sweeps since `zero_grad`.

    Args:
        params, defaults, store: as in `MarginalOptimizer`; a rate of None is the store's own.
        accumulated: the loss was divided by this many accumulated batches.
        plain: torch optimizer of parameters without marginals.
    """

    def __init__(self, params: Any, defaults: dict[str, Any], store: Store, accumulated: int, plain: Optimizer | None) -> None:
        self.accumulated = accumulated
        self._listener = Listener()
        self._prober = Prober(own_seed(rank()), 1 if store.cavity else EVERY)
        self._sizes: list[int] = []  # how many weights each marginal is of
        self._plain = PlainParameters(plain)
        self._own_rates: list[bool] = []  # of each group: whether its rate is the store's, with the likelihood's factor
        self._rate_given, self._begun = defaults["lr"] is not None, False
        self._known = dict[GaussianParameter, int]()  # how often the posterior of each became the prior
        self._batch: int | None = None  # under visit
        self._unheard: list[float] = []  # of each group: product of 1 - rate / batches, what is left of a site's first silence
        super().__init__(params, defaults if self._rate_given else defaults | {"lr": 1.0}, store)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A group of marginals, with settings of its own or those of the call; it may join during a run."""
        given = "lr" in param_group or self._rate_given
        super().add_param_group(param_group)
        self._own_rates.append(not given)
        self._unheard.append(1.0)
        if self._begun:
            self._begin(len(self.param_groups) - 1)

    @torch.no_grad()
    def _begin(self, first: int = 0) -> None:
        """Lets the store choose the rates that the user has not, and the start of marginals that have learnt nothing.

        Args:
            first: of the groups that begin.
        """
        self._begun = True
        for group, own_rate in zip(self.param_groups[first:], self._own_rates[first:], strict=True):
            group["lr"] = self.store.default_rate(self.depth) if own_rate else group["lr"]
        if first == 0:
            self._plain.begin(float(self.param_groups[0]["lr"]), anew=self._own_rates[0])
        for marginal in chain.from_iterable(self._owned[first:]):
            self._known[marginal] = marginal.advances
            if marginal.surplus and marginal.fresh():  # of an optimizer before, which never took a step
                self.store.release(marginal, self.state[marginal.mean])
            self.store.begin(marginal, self.state[marginal.mean], self.depth)
            marginal.mark_written()

    def attach(self, marginal: GaussianParameter) -> None:
        self._listener.attach(marginal)
        self._sizes.append(marginal.mean.numel())
        self._prober.attach(marginal)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all messages. Gradients of marginals become None in any case, as zeros would be a message."""
        super().zero_grad()
        self._plain.zero_grad(set_to_none)
        self._listener.clear()
        for marginal in self.marginals:
            marginal.forget()

    def state_dict(self) -> dict[str, Any]:
        """That of the marginals, the plain parameters' optimizer, the generator of probes, and what is not heard yet."""
        own = {"probes": self._prober.state(), "unheard": list(self._unheard), "own_rates": list(self._own_rates)}
        return super().state_dict() | own | self._plain.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where the optimizer stood that gave this state.

        Raises:
            InvalidInput: another optimizer's state, another store's, or a damaged one; before anything changes.
        """
        require_same_parts(state_dict, self._plain.optimizer)
        super().load_state_dict({name: value for name, value in state_dict.items() if name not in _OWN})
        unheard = state_dict.get("unheard", 0.0)  # of all groups together in earlier versions, or not there
        self._unheard = list(unheard) if isinstance(unheard, list) else [float(unheard)] * len(self.param_groups)
        self._own_rates = list(state_dict.get("own_rates", self._own_rates))
        self._plain.load(state_dict)
        self._prober.load(state_dict.get("probes", {}))
        self._prober.wait(self.param_groups[0]["steps"])

    def heard(self, marginal: GaussianParameter) -> float:
        """The share of the data that a marginal's average site has heard, 1 - prod (1 - rate / batches) over its group's steps.

        1 before the first step, of another store than `AveragedSites`, and of a marginal that is not this optimizer's.
        """
        for unheard, owned in zip(self._unheard, self._owned, strict=True):
            if marginal in owned and unheard < 1 and isinstance(self.store, AveragedSites):
                return 1 - unheard
        return 1.0

    @property
    def depth(self) -> float:
        """How deep the network is (`message_weight.depth`)."""
        return depth(self.layers, self.power_factor)

    @property
    def probed_depth(self) -> float:
        """The same, by all weights of two axes or more: whether their layers carry moments does not count in a means sweep."""
        return depth(self._moved, self.power_factor)

    @property
    def _moved(self) -> int:
        """How many layers with weights it moves, with moments or without."""
        return sum(map(moves_weights, self.marginals))

    @property
    def power_factor(self) -> float:
        """Factor on the power of a likelihood whose power is automatic (`message_weight.automatic_power_factor`)."""
        return automatic_power_factor(self._sizes, self.param_groups[0]["num_data"])

    @property
    def message_weight(self) -> float:
        """By how much `step` multiplies the messages it finds (`optim/message_weight.py`)."""
        return message_weight(self._listener, self.power_factor, self.accumulated)

    def messages(self) -> list[tuple[GaussianParameter, Message]]:
        """The messages (g, G) since `zero_grad`, of the marginals that got one, as `step` would take them."""
        updates = self._updates(self._total().examples)
        return [(update.marginal, update.message.tempered(update.step.message_weight)) for update in updates]

    def take(self, messages: Mapping[GaussianParameter, Message], sweep: Sweep) -> None:
        """Takes the messages (g, G) of a batch, centred at the means, in place of all since `zero_grad`: the next step's.

        Args:
            messages: as the sweep would bring them, before its power and what an automatic one leaves to the optimizer; of this
                process's examples.
            sweep: how many examples spoke, and what their likelihood wants of the step.
        """
        self.zero_grad()
        for marginal, message in messages.items():
            marginal.replace_message(_averaged(message).tempered(1 / self.accumulated))
        self._listener.sweeps.append(sweep)

    def set_rate(self, rate: float) -> None:
        """The rate from now on, in place of the store's and of what suits the likelihood."""
        self._own_rates = [False] * len(self.param_groups)
        self._plain.begin(rate, anew=True)
        for group in self.param_groups:
            group["lr"] = rate

    def learn_by(self, m_step: Callable[[float], None]) -> None:
        """Has the next step call `m_step(share of the data)`, in place of what likelihoods would learn from its sweeps."""
        self._listener.m_step = m_step

    def _updates(self, examples: int, take: bool = False) -> list[Update]:
        """The updates of this step: every marginal that got a message, with the step's settings; `take` as in `message`."""
        if self.store.fixed_batches and self._batch is None:
            raise InvalidInput(
                "BatchSites needs to know which batch this is",
                where="MessagePassing.step",
                cause="an ordinary loader",
                fix="iterate over FixedBatches and wrap sweep and step in `with propagate.visit(batch, x, y):`",
            )
        means, alone, found = self._listener.means, processes() == 1, list[Update]()
        for group, owned, own_rate in zip(self.param_groups, self._owned, self._own_rates, strict=True):
            check_group(group, started=True)
            step = self._step_of(group, examples, own_rate)
            probed = step._replace(run=step.run._replace(depth=self.probed_depth), probed=True)
            for i, marginal in enumerate(owned):
                if has_message(marginal, partial(name_of, group, i), means, alone):
                    found.append(Update(group, i, marginal, NOTHING, probed if marginal.probed else step))
        curvatures = [self.state[update.marginal.mean].get(CURVATURE) for update in found]
        return told(found, curvatures, examples / (self.accumulated * processes()), take)  # in an average of gradients

    def _total(self) -> Total:
        """What the sweeps of all processes say together."""
        total = self._listener.total(self.marginals[0].mean.device)
        require_examples(total.examples, self.param_groups[0]["num_data"])
        return total

    def _step_of(self, group: dict[str, Any], examples: int, own_rate: bool) -> Step:
        batches, scheduled, listener = group["num_data"] / examples, rate_of(group, examples), self._listener
        suits = listener.rate_factor(batches, self._moved) if own_rate and self.store.rated_by_likelihood else 1.0
        return Step(
            min(1.0, scheduled * suits),
            batches,
            self._batch,
            self.message_weight,
            self._run_of(group, examples),
            steady=listener.steady,
            scheduled=min(1.0, scheduled),
        )

    def _run_of(self, group: dict[str, Any], examples: int) -> Run:
        progress, crowding = progress_of(group, examples), self.power_factor
        steps, weights = (group["steps"] + 1) / progress, sum(self._sizes) / group["num_data"]
        return Run(depth(self.layers, crowding), progress, steps, crowding, weights)

    def _advance(self, examples: int, updates: Sequence[Update]) -> None:
        taken = {id(update.group): update.step.rate / update.step.batches for update in updates}
        for i, group in enumerate(self.param_groups):
            self._unheard[i] *= 1 - taken.get(id(group), 0.0)
            group["steps"] += 1
            group["examples_seen"] += examples
        self._prober.wait(self.param_groups[0]["steps"])


def _averaged(message: Message) -> Message:
    """The average over the processes of torch.distributed, as DDP's gradients are."""
    if processes() == 1:
        return message
    parts = [part.contiguous().clone() for part in message]
    for part in parts:
        dist.all_reduce(part)
    return Message(*parts).tempered(1 / processes())
