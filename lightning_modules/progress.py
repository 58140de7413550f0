"""PassLines: progress for logs, one line for each pass."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar

_ALSO = ("val/accuracy",)  # beside what goes to progress bars


class PassLines(ProgressBar):
    """One line after each pass of a fit, with what a progress bar would show; for output that is no terminal.

    Lightning's own bar writes a line for every refresh where the cursor cannot go back. The command line takes `PassLines` where
    stdout is no terminal.

    >>> trainer = lightning.Trainer(max_epochs=2, callbacks=[PassLines()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled, self._start = True, 0.0

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._enabled:
            print(*args, **kwargs)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """After the validation of the pass, if it has one."""
        if self._enabled and trainer.is_global_zero:
            scores = trainer.progress_bar_metrics | {name: trainer.callback_metrics.get(name) for name in _ALSO}
            seconds = time.perf_counter() - self._start
            print(line(trainer.current_epoch + 1, trainer.max_epochs, scores, seconds), flush=True)

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def line(number: int, passes: int | None, scores: dict[str, Any], seconds: float) -> str:
    """The line of a pass; scores of single steps are left out.

    >>> line(3, 15, {"train/evidence_epoch": -0.1234, "train/evidence_step": -1.0, "val/nll": 0.0521}, 12.34)
    'pass 3/15  train/evidence -0.1234  val/nll 0.0521  12.3 s'
    """
    shown = {
        name.removesuffix("_epoch"): float(value)
        for name, value in scores.items()
        if value is not None and not name.endswith("_step")
    }
    known = "" if passes in (None, -1) else f"/{passes}"
    return "  ".join([f"pass {number}{known}", *(f"{name} {value:.4f}" for name, value in shown.items()), f"{seconds:.1f} s"])


def on_terminal() -> bool:
    """Whether stdout can move its cursor back: a terminal, or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules
