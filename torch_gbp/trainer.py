"""Trainer: the plain torch loop, with a progress bar, validation and early stopping on the evidence."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from operator import length_hint
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from tqdm.auto import tqdm

from torch_gbp.autograd import passes
from torch_gbp.batches import PassWatch, count_examples, inputs_of, pairs
from torch_gbp.convert import renew_statistics
from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count
from torch_gbp.inference.inference import Inference
from torch_gbp.layers.standardise import fit_statistics
from torch_gbp.likelihoods import Likelihood
from torch_gbp.modules import device_of
from torch_gbp.optim.configure import Plain, configure_optimizers
from torch_gbp.optim.message_passing import MessagePassing
from torch_gbp.optim.report import StepReport
from torch_gbp.optim.stores import Store
from torch_gbp.predictive import Outputs, outputs_of
from torch_gbp.predictive.examples import log_probability, require_network
from torch_gbp.predictive.predict import SAMPLES
from torch_gbp.progress import pass_line, redraws


class Evaluation(NamedTuple):
    """log_evidence: mean log p(y) per example; accuracy for labels, rmse for real targets, else None."""

    log_evidence: float
    accuracy: float | None
    rmse: float | None


class Epoch(NamedTuple):
    """One line of the history that `fit` returns; validation is None without a validation loader."""

    epoch: int
    log_evidence: float
    report: StepReport | None
    validation: Evaluation | None


class Trainer:
    """Trains a network with marginals by message passing, and its plain parameters beside them.

    After the last pass statistics of BatchNorm are renewed from the training batches, at the last means (`renew_statistics`).

    Args:
        model: network of GBP layers, or any torch network with marginals (`gbp.from_torch`); it is trained in place.
        likelihood: what the targets say about the outputs.
        epochs: passes over the data.
        lr, store: as in `MessagePassing`.
        inference: inner sweeps, their rates and order (inference.py); None for one sweep of each batch. With a rate of its
            own, `lr`, warm-up and cosine are not used.
        patience: stop after this many passes without a better validation evidence, and go back to the best
            marginals, which are no averages of the last steps; None trains all passes and keeps the last.
        learn_priors: after every pass but the last, `MessagePassing.learn_priors` (empirical Bayes).
        progress: show a progress bar on stderr, or one line a pass where that is no terminal (and no notebook).
        plain: makes the optimizer of parameters without marginals, as in `configure_optimizers`.
        num_data: number of targets in a pass; None counts the items of the loader's data set, or of a list of batches the
            targets. To be given where an item becomes several examples (a network that flattens a sequence's tokens), or for
            a stream.
        sweep: "means" trains GBP layers by a means sweep (`torch_gbp.means_sweep`), "moments" (None likewise) by their moments.

    Raises:
        InvalidInput: settings out of range; loaders without batches, batches that are no pairs (input, target), outputs that
            are no Gaussian, targets that do not fit them.

    Warns:
        Miscounted: once, where a pass gives more examples than `num_data`, by more than a batch: the schedule ends early.

    >>> import torch_gbp as gbp
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> x = torch.randn(64, 2)
    >>> data = TensorDataset(x, (x[:, 0] > 0).long())
    >>> trainer = Trainer(gbp.GBPLinear(2, 2, prior=gbp.Prior(scale=1.0)), gbp.Softmax(), epochs=4, progress=False)
    >>> history = trainer.fit(DataLoader(data, batch_size=8, shuffle=True))
    >>> trainer.evaluate(DataLoader(data, batch_size=64)).accuracy > 0.8
    True
    """

    def __init__(
        self,
        model: nn.Module,
        likelihood: Likelihood,
        epochs: int = 8,
        *,
        lr: float | None = None,
        store: Store | None = None,
        inference: Inference | None = None,
        patience: int | None = None,
        learn_priors: bool = False,
        progress: bool = True,
        plain: Plain | None = None,
        sweep: str | None = None,
        num_data: int | None = None,
    ) -> None:
        require_network(model, likelihood, "Trainer")
        if patience is not None:
            patience = require_count("patience", patience, "Trainer", fix="use patience=None to never stop early")
        epochs = require_count("epochs", epochs, "Trainer", fix="use 8")
        if num_data is not None:
            num_data = require_count("num_data", num_data, "Trainer", fix="use num_data=None to count them")
        self.model, self.likelihood, self.epochs = model, likelihood, epochs
        self.lr, self.store, self.patience = lr, store, patience
        self.inference = Inference() if inference is None else inference
        self.learn_priors, self.progress, self.plain = learn_priors, progress, plain
        self.sweep = passes.require_sweep(sweep, "Trainer")
        self.num_data = num_data
        self.optimizer: MessagePassing | None = None

    def fit(self, loader: Any, validation: Any = None) -> list[Epoch]:
        """Runs the passes over `loader` of (input, target), or (input, target, batch number) for `BatchSites`.

        Raises:
            InvalidInput: patience without a validation loader.
        """
        if self.patience is not None and validation is None:
            raise InvalidInput(
                "early stopping needs a validation loader", where="Trainer.fit", fix="pass validation=..., or patience=None"
            )
        batches, generator = pairs(loader, None, "Trainer.fit"), getattr(loader, "generator", None)
        fit_statistics(self.model, self.likelihood.targets, batches, generator)
        passes = self.epochs if self.inference.rate is None else None
        settings: dict[str, Any] = {"lr": self.lr, "epochs": passes, "store": self.store, "plain": self.plain}
        num_data = count_examples(loader) if self.num_data is None else self.num_data
        self.optimizer = configure_optimizers(self.model, num_data, **settings)
        self._watch = PassWatch("Trainer.fit")
        try:
            return self._run(self.optimizer, loader, validation)
        except BaseException:
            self.optimizer.release()
            raise

    def _run(self, optimizer: MessagePassing, loader: Any, validation: Any) -> list[Epoch]:
        history: list[Epoch] = []
        best, best_state, waited = -float("inf"), None, 0
        for number in range(1, self.epochs + 1):
            history.append(self._epoch(number, loader, validation))
            checked = history[-1].validation
            if self.patience is None or checked is None:
                continue
            if checked.log_evidence > best:
                with optimizer.settled():
                    best, best_state, waited = checked.log_evidence, copy.deepcopy(self._learned().state_dict()), 0
            elif (waited := waited + 1) >= self.patience:
                break
        if best_state is not None:
            optimizer.release()
            self._learned().load_state_dict(best_state)
            self._renew_statistics(loader)
        return history

    def _renew_statistics(self, loader: Any) -> None:
        renew_statistics(self.model, (x for x, *_ in pairs(loader, None, "Trainer.fit")))

    def _learned(self) -> nn.ModuleList:
        """What training writes to: the network, and a likelihood that learns its noise."""
        return nn.ModuleList([self.model, self.likelihood])

    @torch.no_grad()
    def evaluate(self, loader: Iterable[Any], how: str | None = None, samples: int = SAMPLES) -> Evaluation:
        """Mean log evidence of the targets, and accuracy or root mean squared error of the predictions.

        Args:
            how, samples: the way of predicting, as in `torch_gbp.predict`.
        """
        logs, hits, squares = [], [], []
        for x, y, *_ in pairs(loader, device_of(self.model), "Trainer.evaluate"):
            outputs = outputs_of(self.model, x, "Trainer.evaluate", how, samples)
            self.likelihood.validate(outputs.belief, y)
            predictive = outputs.distribution(self.likelihood)
            logs.append(log_probability(predictive, y))
            if isinstance(predictive, Categorical):
                labels = y.argmax(-1) if y.is_floating_point() else y
                hits.append((predictive.logits.argmax(-1) == labels).float())
            else:
                squares.append((predictive.mean - y).square().flatten())
        accuracy = float(torch.cat(hits).mean()) if hits else None
        rmse = float(torch.cat(squares).mean().sqrt()) if squares else None
        return Evaluation(float(torch.cat(logs).mean()), accuracy, rmse)

    @torch.no_grad()
    def predict(self, inputs: Tensor | Iterable[Any], how: str | None = None, samples: int = SAMPLES) -> Distribution:
        """Predictive distribution of the targets, for one tensor or all batches of a loader; `how` as in `torch_gbp.predict`."""
        where, device = "Trainer.predict", device_of(self.model)
        found = [outputs_of(self.model, x, where, how, samples) for x in inputs_of(inputs, device, where)]
        return Outputs.joined(found).distribution(self.likelihood)

    def _epoch(self, number: int, loader: Any, validation: Any) -> Epoch:
        self.model.train()
        assert self.optimizer is not None
        self._watch.begin(self.optimizer.param_groups[0])
        total, seen, start = 0.0, 0, time.perf_counter()
        batches = pairs(loader, device_of(self.model), "Trainer.fit")
        hidden = not (self.progress and redraws(sys.stderr))
        bar = tqdm(batches, desc=f"pass {number}/{self.epochs}", total=length_hint(loader) or None, disable=hidden)
        for x, y, *batch in bar:
            loss = self._step(number, x, y, *batch)
            self._watch.look(self.optimizer.param_groups[0], len(y))
            total, seen = total - loss, seen + len(y)
            bar.set_postfix(log_evidence=f"{total / seen:.4f}", refresh=False)
        if number == self.epochs and self.optimizer.param_groups[0]["epochs"] is not None:
            self.optimizer.use_averaged_means()  # the last step has done so, unless the loader drops examples
            self._renew_statistics(loader)
        self.optimizer.rebuild()
        if self.learn_priors and number < self.epochs:
            self.optimizer.learn_priors()
        checked = None if validation is None else self.evaluate(validation)
        found = Epoch(number, total / seen, self.optimizer.report, checked)
        if self.progress and not redraws(sys.stderr):
            print(pass_line(number, self.epochs, _scores(found), time.perf_counter() - start), file=sys.stderr, flush=True)
        return found

    def _step(self, number: int, x: Tensor, y: Tensor, batch: int | None = None) -> float:
        assert self.optimizer is not None
        visit = nullcontext() if batch is None else self.optimizer.visit(_number(batch), x, y)
        with visit, passes.sweep(self.sweep):
            return float(self.inference(self.model, self.likelihood, self.optimizer, x, y, number))


def _scores(epoch: Epoch) -> dict[str, float | None]:
    """What a log keeps of a pass."""
    if epoch.validation is None:
        return {"log evidence": epoch.log_evidence}
    checked = epoch.validation._asdict()
    return {"log evidence": epoch.log_evidence, "validation": checked.pop("log_evidence"), **checked}


def _number(batch: Any) -> int:
    """The number of a fixed batch, third in it."""
    return require_count(
        "the number of a batch", batch, "Trainer.fit", fix="iterate over FixedBatches, or give (input, target)", least=0
    )
