"""What all classifiers share: validation, test with out-of-distribution sets, and prediction."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from lightning_modules.checkpoints.portable import PortableModule
from torch_gbp import evaluation
from torch_gbp.batches import first_of
from torch_gbp.metrics import classification_scores, ood_auroc


class ClassifierEvaluation(PortableModule):
    """Scores whole data sets from `log_probabilities`, which a subclass gives.

    Validation logs `val/...`, with several loaders `val/.../dataloader_idx_<number>`. The first test loader is the
    in-distribution test set (`test/...`), further ones are OOD sets: `test/ood_auroc/<name>`, and `test/ood_auroc/all` for all
    of them together. The test has the scores of `torch_gbp.evaluate` beside them, by the names of torch-uncertainty:
    `test/cls/Acc`, `test/cal/aECE`, `test/sc/AURC`, `test/ood/<name>/FPR95`. Names come from the data module's `test_names`,
    else they are the loaders' numbers.
    """

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Log predictive probabilities of the classes, (n, classes)."""
        raise NotImplementedError

    def predictions(self, x: Tensor) -> dict[str, Tensor]:
        """Class probabilities (n, classes)."""
        return {"probabilities": self.log_probabilities(x).exp()}

    def on_validation_epoch_start(self) -> None:
        self._predictions = Collected()

    def on_test_epoch_start(self) -> None:
        self._predictions = Collected()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._predict(batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._predict(batch, dataloader_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Class probabilities, (n, classes)."""
        x = first_of(batch)
        return self.log_probabilities(x).exp()

    def on_validation_epoch_end(self) -> None:
        for loader, suffix in self._predictions.loaders().items():
            scores = classification_scores(*self._predictions.of(loader, self))
            named = {f"val/{name}{suffix}": scores[name] for name in scores if name != "nll"}
            self.log_dict(named, add_dataloader_idx=False)
            self.log(f"val/nll{suffix}", scores["nll"], prog_bar=True, add_dataloader_idx=False)

    def on_test_epoch_end(self) -> None:
        inside, labels = self._predictions.of(0, self)
        scores = classification_scores(inside, labels)
        outside = {name: self._predictions.of(i, self)[0] for i, name in self._ood_names()}
        scores |= {f"ood_auroc/{name}": ood_auroc(inside, logs) for name, logs in outside.items()}
        if outside:
            scores["ood_auroc/all"] = ood_auroc(inside, torch.cat(list(outside.values())))
        scores |= self._by_long_names(inside, labels, outside)
        self.log_dict({f"test/{name}": value for name, value in scores.items()})

    def _predict(self, batch: Any, loader: int) -> None:
        x, labels = self.pair_of(batch)
        logs = self.log_probabilities(x)
        # Smoothed labels (a test of the training set) are scored as the classes that they were made of.
        classes = labels.argmax(1) if labels.is_floating_point() and labels.shape == logs.shape else labels
        self._predictions.add(loader, logs.detach(), classes)

    def _by_long_names(self, inside: Tensor, labels: Tensor, outside: dict[str, Tensor]) -> dict[str, float]:
        """All scores of `torch_gbp.evaluate`, by the names of torch-uncertainty; their errors take a scorecard."""
        others = {name: evaluation.Predictions(probabilities=logs.double().softmax(1)) for name, logs in outside.items()}
        outcome = evaluation.Outcome(type(self).__name__, labels, probabilities=inside.double().softmax(1), ood=others)
        return {name: one.value for name, one in evaluation.score(outcome, resamples=0).items()}

    def _ood_names(self) -> list[tuple[int, str]]:
        names = getattr(getattr(self.trainer, "datamodule", None), "test_names", None)
        return [(i, names[i] if names else str(i)) for i in self._predictions.loaders() if i > 0]


class Collected:
    """What a module predicts for every loader and what is compared with it, batch by batch."""

    def __init__(self) -> None:
        self._batches: dict[int, list[tuple[Tensor, ...]]] = {}

    def add(self, loader: int, *parts: Tensor) -> None:
        """A batch of a loader: tensors with a row for each example."""
        self._batches.setdefault(loader, []).append(parts)

    def loaders(self) -> dict[int, str]:
        """Numbers of the loaders, and what Lightning appends to the names of their scores: nothing where there is only one."""
        return {loader: f"/dataloader_idx_{loader}" if len(self._batches) > 1 else "" for loader in sorted(self._batches)}

    def of(self, loader: int, module: lightning.LightningModule) -> list[Tensor]:
        """The tensors of all batches of a loader, (n, ...), gathered over the processes."""
        return [gathered(module, torch.cat(part)) for part in zip(*self._batches[loader], strict=True)]


def gathered(module: lightning.LightningModule, values: Tensor) -> Tensor:
    """Rows of all processes; `all_gather` adds an axis only if there are several."""
    everywhere = module.all_gather(values)
    assert isinstance(everywhere, Tensor)
    return everywhere.flatten(0, 1) if everywhere.ndim > values.ndim else everywhere
