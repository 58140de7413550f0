"""PassLines: progress for logs, one line for each pass."""

from __future__ import annotations

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import ProgressBar

from torch_gbp.progress import pass_line

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
            seconds, passes = time.perf_counter() - self._start, trainer.max_epochs
            known = None if passes == -1 else passes
            print(pass_line(trainer.current_epoch + 1, known, _scores(trainer), seconds), flush=True)


def _scores(trainer: lightning.Trainer) -> dict[str, float | None]:
    """What a progress bar would show after the pass; scores of its last step are left out."""
    found = trainer.progress_bar_metrics | {name: trainer.callback_metrics.get(name) for name in _ALSO}
    whole = {name: value for name, value in found.items() if value is not None and not name.endswith("_step")}
    return {name.removesuffix("_epoch"): float(value) for name, value in whole.items()}
