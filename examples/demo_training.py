"""The demo's training runs under Lightning, and what they leave for its report."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

from examples.demo_data import HardDigits
from examples.demo_rivals import TunedAdamW
from lightning_modules.baseline import AdamWClassifier
from lightning_modules.calibrate import Calibrate
from lightning_modules.classifier import GBPClassifier
from lightning_modules.classifier_evaluation import ClassifierEvaluation
from lightning_modules.networks import DigitsConv
from lightning_modules.progress import PassLines
from torch_gbp.progress import redraws

# Of both rivals: by the likelihood of the held-out digits of seeds 1 and 2, among 1e-3, 3e-3, 1e-2 and .01, .1, 1; torch_gbp
# as it comes.
RATE, DECAY = 1e-2, 1.0
NAMES = {"gbp": "torch_gbp", "adamw": "AdamW", "adamw_tuned": "AdamW, averaged, temperature"}


class Trained(NamedTuple):
    """A model, the curves of its training, and the seconds that it took."""

    model: ClassifierEvaluation
    history: dict[str, list[float]]
    seconds: float


def made(name: str) -> ClassifierEvaluation:
    """The model of this name, untrained: one network for all."""
    if name == "gbp":
        return GBPClassifier(DigitsConv())
    kind = AdamWClassifier if name == "adamw" else TunedAdamW
    return kind(DigitsConv(gbp=False), RATE, DECAY)


def train(name: str, data: HardDigits, epochs: int, checkpoint: Path | None = None) -> Trained:
    """Trains a model; message passing and the tuned rival are calibrated on the held-out digits, as they end."""
    print(f"\n{NAMES[name]}: {epochs} passes over {len(data.parts.train)} digits")
    lightning.seed_everything(data.seed, verbose=False)
    model, history = made(name), History()
    calibrated = name == "gbp"
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        check_val_every_n_epoch=epochs,  # after the last pass
        limit_val_batches=1.0 if calibrated else 0,
        num_sanity_val_steps=0,
        callbacks=[history, TQDMProgressBar(20) if redraws(sys.stdout) else PassLines(), *([Calibrate()] if calibrated else [])],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - start
    if checkpoint is not None:
        trainer.save_checkpoint(checkpoint)
    return Trained(model.eval(), dict(history.curves), seconds)


class History(Callback):
    """Curves of a training run: log evidence of a training example, and the rate of the last step, at the end of each pass."""

    def __init__(self) -> None:
        self.curves: dict[str, list[float]] = defaultdict(list)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        logged: dict[str, Any] = trainer.callback_metrics
        if "train/evidence_epoch" in logged:
            self.curves["evidence"].append(float(logged["train/evidence_epoch"]))
            self.curves["rate of message passing"].append(trainer.optimizers[0].report.rate)  # type: ignore[attr-defined]
        else:
            self.curves["evidence"].append(-float(logged["train/loss_epoch"]))
            self.curves["learning rate"].append(trainer.optimizers[0].param_groups[0]["lr"])
