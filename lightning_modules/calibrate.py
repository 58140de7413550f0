"""Calibrate: the width and temperature of predictions, chosen by the validation images of a Lightning run."""

from __future__ import annotations

import lightning
from lightning.pytorch.callbacks import Callback

from lightning_modules.gbp_module import GBPModule
from torch_gbp import calibrate
from torch_gbp.errors import InvalidInput


class Calibrate(Callback):
    """Before every validation of a fit, the likelihood's variance_factor and temperature become those that its examples favour.

    So validation scores and checkpoints are those of calibrated predictions, see `torch_gbp.calibrate`; the two numbers that
    the examples choose make the scores on them look better by very little.

    Raises:
        InvalidInput: the module does not train by message passing, or there are several validation loaders.

    >>> trainer = lightning.Trainer(max_epochs=5, callbacks=[Calibrate()], logger=False, enable_progress_bar=False)
    """

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if not isinstance(pl_module, GBPModule):
            raise InvalidInput(
                "only message passing has variances to widen",
                where="Calibrate",
                got=type(pl_module).__name__,
                fix="use it with GBPClassifier or GBPRegressor",
            )
        loaders = trainer.val_dataloaders if isinstance(trainer.val_dataloaders, (list, tuple)) else [trainer.val_dataloaders]
        if len(loaders) != 1:
            raise InvalidInput("one validation loader is needed", where="Calibrate", got=f"{len(loaders)}", fix="join them")
        assert loaders[0] is not None
        found = calibrate(pl_module.model, pl_module.likelihood, loaders[0], pl_module.how, pl_module.samples)
        pl_module.log_dict({f"val/{name}": value for name, value in found._asdict().items() if value is not None})
