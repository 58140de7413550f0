"""LearnPriors: empirical Bayes between the passes of a Lightning run."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import Callback

from torch_gbp import MessagePassing
from torch_gbp.errors import InvalidInput


class LearnPriors(Callback):
    """Before every pass but the first, each layer's prior variance becomes the one that its marginals favour.

    The average over the layer of (m - m0)^2 + v, see `MessagePassing.learn_priors`; `Trainer(learn_priors=True)` does the same.

    Raises:
        InvalidInput: the module does not train by message passing.

    >>> trainer = lightning.Trainer(max_epochs=5, callbacks=[LearnPriors()], logger=False, enable_progress_bar=False)
    """

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        optimizer = pl_module.optimizers(use_pl_optimizer=False)
        if not isinstance(optimizer, MessagePassing):
            raise InvalidInput(
                "only message passing has priors to learn",
                where="LearnPriors",
                got=type(optimizer).__name__,
                fix="use it with GBPClassifier or GBPRegressor",
            )
        if trainer.current_epoch > 0:
            optimizer.learn_priors()
