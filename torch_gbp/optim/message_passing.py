"""MessagePassing: the torch optimizer that multiplies a batch's messages into the weight marginals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from torch_gbp.autograd.probes import gather
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_kind
from torch_gbp.optim.fixed_batches import check_members, fingerprint
from torch_gbp.optim.message_optimizer import MessageOptimizer
from torch_gbp.optim.monitor import Watch
from torch_gbp.optim.report import StepReport, farthest, make_report
from torch_gbp.optim.schedule import FINAL, complete, progress_of
from torch_gbp.optim.settings import CURVATURE, check_counts, check_group
from torch_gbp.optim.soundness import check_updates
from torch_gbp.optim.stores import AveragedSites, Store
from torch_gbp.optim.stores.base import Entry
from torch_gbp.optim.update import Update, restoring_gradients
from torch_gbp.optim.update_checks import require_learnt, require_message, require_same_task, require_unscaled


class MessagePassing(MessageOptimizer):
    """Multiplies the messages of a batch into the marginals of a network's weights.

    Between `loss.backward()` and `step()` every `.grad` holds the product of the batch's messages; the store
    decides how it enters (`torch_gbp.optim.stores`), at the rate lr x `warmup_cosine` (`torch_gbp.optim.schedule`).

    Args:
        params: `model.parameters()`, or `model.named_parameters()` for errors that name the layer.
        num_data: number of training examples, at least the batch size.
        lr: peak rate, 0 < lr <= 1; None takes the store's: 1, or for AveragedSites 0.4, less in deep networks, times a factor of
            the likelihood: 2.5 for `Regression()` (.5 with three layers, .16 with more), else 1, less with fewer than 40 batches
            in a pass.
            Schedulers of `torch.optim.lr_scheduler` act on it.
        epochs: passes over which warm-up and cosine run, and after whose last step the averaged means are used; None for plain
            `lr`, e.g. under a scheduler.
        warmup, final: part of the passes in which the rate rises from 0, and what is left of it at the end; in [0, 1].
        store: AveragedSites() (default), BatchSites() or Filtering().
        accumulated: the loss was divided by this many accumulated batches (Lightning does so).
        report_every: every how many steps `report` is renewed.
        plain: torch optimizer of parameters without marginals, which steps with this one (`torch_gbp.configure_optimizers`).

    `step` uses up the gradients of the means (AveragedSites writes over them): read them before it.
    Call `backward` once for each batch: of two losses added up, only the examples of one are counted.
    `load_state_dict` brings back `num_data` and `epochs` too; to go on for longer, set them in `param_groups`.
    Under torch.distributed the gradients are taken to be averages over the processes, as DDP's are; their batches may differ
    in size, and num_data is that of all.

    Raises:
        InvalidInput: not GBP parameters, num_data missing or smaller than a batch, settings out of range; no message, half of
            one, one that another optimizer took in, gradients changed since the sweep (clipping), or a GradScaler's step.
        ImproperMarginal: messages that are not finite, or would make a precision fall below the prior's.
        Diverged: (BatchSites) messages that would take a mean a million prior deviations away.
            After either, the marginals are those from before the step.

    Warns:
        NotLearning: once, where after a fifth of the passes the outputs still say nothing about the targets (optim/monitor.py).

    >>> import torch_gbp as gbp
    >>> model = gbp.GBPLinear(2, 1)
    >>> propagate = MessagePassing(model.parameters(), num_data=3)
    >>> loss = gbp.Regression(0.1)(model(torch.ones(3, 2)), torch.ones(3, 1))
    >>> loss.backward()
    >>> _ = propagate.step()
    >>> bool((model.weight.precision > model.weight.prior_precision).all())
    True
    """

    _step_supports_amp_scaling = True  # so that a GradScaler makes itself known, and is refused

    def __init__(
        self,
        params: Any,
        num_data: int | None = None,
        *,
        lr: float | None = None,
        epochs: float | None = 8,
        warmup: float = 0.2,
        final: float = FINAL,
        store: Store | None = None,
        accumulated: int = 1,
        report_every: int = 50,
        plain: Optimizer | None = None,
    ) -> None:
        store = AveragedSites() if store is None else store
        require_kind("store", store, Store, "MessagePassing", fix="use AveragedSites(), BatchSites() or Filtering()")
        check_counts(accumulated, report_every)
        self.report_every = report_every
        self.report: StepReport | None = None
        self._watch = Watch(accumulated > 1)
        self._found: list[list[float]] = []  # what the examples of a visit look like
        progress = {"steps": 0, "examples_seen": 0, "fingerprints": {}}
        schedule = {"num_data": num_data, "epochs": epochs, "warmup": warmup, "final": final}
        super().__init__(params, {"lr": lr} | schedule | progress, store, accumulated, plain)
        self._begin()

    @torch.no_grad()
    def restart(self, num_data: int | None = None) -> None:
        """Forgets sites, momentum, averages and the steps of the schedule, and begins again at the marginals that are there.

        Args:
            num_data: number of training examples from now on; None for as many as before.

        Raises:
            InvalidInput: a number of examples that is none.
        """
        news = {} if num_data is None else {"num_data": num_data}
        check_group(self.param_groups[0] | news)
        self.zero_grad()
        self.state.clear()
        self._plain.restart()
        for group in self.param_groups:
            group.update(steps=0, examples_seen=0, fingerprints={}, **news)
        self._watch, self._unheard = Watch(self.accumulated > 1), [1.0] * len(self.param_groups)
        self._begin()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Multiplies the messages received since the last step into the marginals.

        Checks every message first and writes only if all are sound. Returns the closure's loss.
        """
        require_unscaled(self)
        require_same_task(self._known, self.marginals)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        total = self._total()
        gather(self.marginals)
        examples, updates = total.examples, list[Update]()
        with restoring_gradients(updates):
            updates.extend(self._updates(examples, take=True))
            require_message(updates)
            if self.param_groups[0]["steps"] == 0:
                self.store.prepare(self.marginals, updates[0].step.batches)
            check_updates(self.store, updates, [self.state[update.marginal.mean] for update in updates])
            self._plain.check()
            run = updates[0].step.run
            self._listener.learn(not self.store.cavity, self.param_groups[0]["num_data"], run.progress)
        watched = self.report_every > 0 and self.param_groups[0]["steps"] % self.report_every == 0
        moved = self._commit(updates, watched)
        self._plain.step(self.param_groups[0], progress_of(self.param_groups[0], 0), run._replace(depth=self.probed_depth))
        self._advance(examples, updates)
        if complete(self.param_groups[0], examples):
            self.use_averaged_means()
        if watched:
            marginals = [update.marginal for update in updates]
            self.report = make_report(self.param_groups[0]["steps"], total, updates[0].step.rate, marginals, moved)
        self._watch.look(self._listener.sweeps, run.progress, self.store.way_out)
        self._listener.clear()
        if self._batch is not None:  # from now on the batch has a site, which speaks for these examples
            self.param_groups[0]["fingerprints"][self._batch] = self._found
        self.close()
        return loss

    @torch.no_grad()
    def use_averaged_means(self) -> None:
        """Puts the means at the average of the last steps, as the step that completes `epochs` does; for a run cut short, and
        for a single pass of a loader that drops examples (`schedule.complete`)."""
        self._rewrite(self.store.use_averaged_means)

    @torch.no_grad()
    def release(self) -> None:
        """Takes out of the marginals what only the run needed, and leaves the means as they are: for a run that failed."""
        self._rewrite(self.store.release)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Inside, marginals are without the surplus of precision of the first half of a run: for a copy of them."""
        kept = [(own, own.precision.detach().clone()) for own in self.marginals if own.surplus and own.anneals]
        for own, _ in kept:
            own.precision.detach().copy_(own.without_surplus())
        try:
            yield
        finally:
            for own, precision in kept:
                own.precision.detach().copy_(precision)

    @contextmanager
    def visit(self, batch: int, *examples: Tensor) -> Iterator[None]:
        """One visit to a fixed batch: `with propagate.visit(b, x, y): ...` around sweep and step.

        With `BatchSites` the marginals are the batch's cavity inside; if the step fails or never comes, the
        ones from before are put back. The examples are fingerprinted at the first visit.

        Raises:
            Repartitioned: the batch holds other examples than at its first visit.
        """
        self.open(batch, *examples)
        try:
            yield
        finally:
            self.close()

    @torch.no_grad()
    def open(self, batch: int, *examples: Tensor) -> None:
        """First half of `visit`, for loops that cannot use a with-statement."""
        self.close()
        found = fingerprint(examples)
        check_members(batch, found, self.param_groups[0]["fingerprints"].get(batch))
        self._rewrite(self.store.open, batch)
        self._batch, self._found = batch, found

    @torch.no_grad()
    def close(self) -> None:
        """Second half of `visit`: without a step in between, nothing has changed."""
        if self._batch is not None:
            self._rewrite(self.store.restore)
        self._batch = None

    @torch.no_grad()
    def rebuild(self) -> None:
        """Recomputes every marginal from its prior and all sites, where the store keeps them."""
        self._rewrite(self.store.rebuild)

    @torch.no_grad()
    def learn_priors(self) -> None:
        """Empirical Bayes: every layer's prior variance becomes the one that its marginals favour, the average over the
        layer of (m - m0)^2 + v (`torch_gbp.weights.priors.empirical_variance`), and enters the marginals in place of the old one.

        One EM step; call it after a pass, between visits of batches. Weights and biases are layers of their own.

        Raises:
            InvalidInput: during a visit, when the marginals are the cavity of one batch, or before anything was learnt.
        """
        if self._batch is not None:
            raise InvalidInput("priors cannot change during a visit", where="MessagePassing.learn_priors", fix="call it after")
        require_learnt(self.store, self.marginals, [self.state[marginal.mean] for marginal in self.marginals])
        self._rewrite(self.store.learn_prior)

    def _commit(self, updates: Sequence[Update], watched: bool) -> list[float]:
        """Lets the messages in; tells max |dm| / sigma of each marginal if watched."""
        before = [update.marginal.mean.clone() for update in updates if watched]
        entries = [Entry(own.marginal, self.state[own.marginal.mean], own.message, own.step) for own in updates]
        for entry, update in zip(entries, updates, strict=True):
            entry.state.update({} if update.curvature is None else {CURVATURE: update.curvature})
        self.store.commit_all(entries)
        for marginal, state, *_ in entries:
            self.store.renew_prior(marginal, state)
            marginal.mark_written()
            marginal.mark_used()
        return [farthest(old, own.marginal) for old, own in zip(before, entries, strict=False)]
