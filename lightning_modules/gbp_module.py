"""What GBPClassifier and GBPRegressor share: training by message passing under Lightning's automatic optimisation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from lightning_modules.checkpoints.portable import PortableModule
from lightning_modules.training_checks import count_seen, require_marginals, require_whole_messages
from torch_gbp import Gaussian, Likelihood, MessagePassing, Predictive, configure_optimizers, predict, renew_statistics
from torch_gbp.autograd import passes
from torch_gbp.batches import PassWatch, pairs
from torch_gbp.convert.statistics import averages
from torch_gbp.layers.standardise import fit_statistics
from torch_gbp.optim.configure import Plain
from torch_gbp.optim.report import StepReport
from torch_gbp.optim.stores import Store
from torch_gbp.predictive.predict import SAMPLES


class GBPModule(PortableModule):
    """Trains `model` by `MessagePassing`: the loss is -log evidence, the optimizer multiplies messages.

    The rate warms up and falls over the trainer's passes; the last step puts the means at the average of the last ones
    (`MessagePassing.use_averaged_means`), which is when the validation scores rise. For a scheduler of torch, override
    `configure_optimizers` and switch that schedule off::

        def configure_optimizers(self):
            optimizer = self.message_passing(scheduled=False)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)]

    Batches are (x, y), or (x, y, batch number) from a loader over `FixedBatches`, which `BatchSites` needs.

    Statistics of BatchNorm are renewed from training batches at the means that it ends with (`torch_gbp.renew_statistics`).

    Args:
        model: network of GBP layers, or any torch network with marginals (`torch_gbp.from_torch`).
        likelihood: what the targets say about the outputs.
        lr, warmup, store: as in `MessagePassing`.
        epochs: passes of the schedule; None takes the trainer's.
        num_data: number of targets in a pass; None counts the items behind the training loader. To be given where an item
            becomes several examples (a network that flattens a sequence's tokens).
        plain: makes the optimizer of parameters without marginals, as in `torch_gbp.configure_optimizers`.
        sweep: as in `torch_gbp.Trainer`.

    Attributes:
        how, samples: the way of predicting in validation, test and prediction, as in `torch_gbp.predict`; set them on the module.

    Raises:
        InvalidInput: a network without marginals.

    Warns:
        Miscounted: once, where a pass gives more examples than `num_data`, by more than a batch: the schedule ends early.
    """

    portable = ("model", "likelihood", "store")
    settings = ("lr", "epochs", "num_data", "warmup", "sweep")
    attributes = ("how", "samples")
    how: str | None = None
    samples: int = SAMPLES

    def __init__(
        self,
        model: nn.Module,
        likelihood: Likelihood,
        lr: float | None = None,
        epochs: float | None = None,
        num_data: int | None = None,
        warmup: float = 0.2,
        store: Store | None = None,
        plain: Plain | None = None,
        sweep: str | None = None,
    ) -> None:
        super().__init__()
        require_marginals(model, type(self).__name__)
        self.model, self.likelihood = model, likelihood
        self.lr, self.epochs, self.num_data, self.warmup, self.store = lr, epochs, num_data, warmup, store
        self.plain, self.sweep = plain, passes.require_sweep(sweep, type(self).__name__)
        self._logged: StepReport | None = None
        self._watch = PassWatch(type(self).__name__)
        self._settled = False  # the means are in place at last, and statistics of BatchNorm wait for them

    def forward(self, x: Any) -> Gaussian | Tensor:
        """Belief of the outputs, or the outputs at the means of the weights where the layers carry no moments."""
        return self.model(x)

    def predict(self, x: Any) -> Predictive:
        """Predictive distribution of the targets, by the module's `how` and `samples`."""
        return predict(self.model, self.likelihood, x, self.how, self.samples)

    def configure_optimizers(self) -> Any:
        return self.message_passing()

    def message_passing(self, scheduled: bool = True) -> MessagePassing:
        """The optimizer for this trainer; `scheduled=False` leaves the rate to a scheduler of torch.

        Raises:
            InvalidInput: the trainer clips gradients or scales losses (precision="16-mixed"), or `BatchSites` would see batches
                in parts.
        """
        self.trainer.fit_loop.setup_data()  # makes the training loader known, as `estimated_stepping_batches` does
        require_whole_messages(self.trainer, self.store)
        return configure_optimizers(
            self.model,
            self._count_data(),
            plain=self.plain,
            lr=self.lr,
            epochs=self._count_passes() if scheduled else None,
            warmup=self.warmup,
            store=self.store,
            accumulated=self.trainer.accumulate_grad_batches,
            report_every=self.trainer.log_every_n_steps,  # type: ignore[attr-defined]
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """-log evidence of the batch (a sum over its examples)."""
        x, y = batch[0], batch[1]
        with passes.sweep(self.sweep):
            loss = self.likelihood(self.model(x), y)
        evidence = -loss.detach() / len(y)  # log p(y) per example
        self.log("train/evidence", evidence, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(y), sync_dist=True)
        return loss

    def on_fit_start(self) -> None:
        """Takes the statistics of inputs and targets from the training loader, where the network or the likelihood wants any."""
        self.trainer.fit_loop.setup_data()
        loader = self.trainer.train_dataloader
        batches, generator = pairs(loader, None, "GBPModule"), getattr(loader, "generator", None)
        fit_statistics(self.model, self.likelihood.targets, batches, generator)

    def on_train_start(self) -> None:
        """After a resume the schedule follows the present trainer and data, not those of the saved run."""
        for group in self._message_passing().param_groups:
            group["num_data"] = self._count_data()
            group["epochs"] = group["epochs"] and self._count_passes()
        self._watch.begin(self._message_passing().param_groups[0])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        optimizer = self._message_passing()
        if batch_idx == 0:
            self._watch.begin(optimizer.param_groups[0])
        if optimizer.accumulated != self.trainer.accumulate_grad_batches:  # a GradientAccumulationScheduler changes it
            require_whole_messages(self.trainer, self.store)
            optimizer.accumulated = self.trainer.accumulate_grad_batches
        if len(batch) > 2:
            optimizer.open(int(batch[2]), batch[0], batch[1])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Sweep and step; if either fails, a fixed batch's site is put back, so nothing has changed."""
        try:
            super().optimizer_step(*args, **kwargs)
        finally:
            self._message_passing().close()
        if self._completes():  # the step has settled the means itself, unless the loader drops examples
            self._message_passing().use_averaged_means()
            self._settled = True

    def _completes(self) -> bool:
        """Whether the present step is the last of the schedule's passes."""
        trainer, passes = self.trainer, self._message_passing().param_groups[0]["epochs"]
        if passes is None:
            return False
        stops = self.epochs is None and trainer.global_step + 1 == trainer.max_steps
        return stops or (trainer.is_last_batch and trainer.current_epoch + 1 == passes)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Renews the statistics of BatchNorm once the means have settled, before validation sees them; logs the step report."""
        if self._settled:
            self._settled = False
            self._renew_statistics()
        self._watch.look(self._message_passing().param_groups[0], len(batch[1]) * self.trainer.world_size)
        self._log_report()

    def _renew_statistics(self) -> None:
        """Statistics of training batches at the settled means, of all processes."""
        with self.trainer.precision_plugin.forward_context():
            renewed = renew_statistics(self.model, self._inputs())
        for own in averages(self.model) if renewed else ():
            own.copy_(self.trainer.strategy.reduce(own, reduce_op="mean"))

    def _inputs(self) -> Iterator[Any]:
        strategy = self.trainer.strategy
        loader: Any = self.trainer.train_dataloader
        for batch in loader:
            yield strategy.batch_to_device(strategy.precision_plugin.convert_input(batch))[0]

    def _log_report(self) -> None:
        """Sends a new step report to the loggers; the trainer's own interval for logging is its interval."""
        report = self._message_passing().report
        if report is None or report is self._logged:
            return
        self._logged = report
        for logger in self.loggers:
            logger.log_metrics({f"step/{name}": value for name, value in report._asdict().items()}, step=self.global_step)

    def on_train_epoch_end(self) -> None:
        self._message_passing().rebuild()

    def _message_passing(self) -> MessagePassing:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, MessagePassing)
        return optimizer

    def _count_data(self) -> int:
        return count_seen(self.trainer) if self.num_data is None else self.num_data

    def _count_passes(self) -> float | None:
        """Passes of the schedule; None (the plain rate) for a trainer without an end."""
        if self.epochs is not None:
            return self.epochs
        trainer = self.trainer
        by_epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
        steps = trainer.max_steps if trainer.max_steps != -1 else math.inf
        passes = min(by_epochs, steps * trainer.accumulate_grad_batches / trainer.num_training_batches)
        return passes if 0 < passes < math.inf else None
