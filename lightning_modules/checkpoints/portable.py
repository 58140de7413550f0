"""PortableModule: a LightningModule whose checkpoints rebuild it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning
from torch import Tensor

from lightning_modules.checkpoints.reading import Source, read_record
from lightning_modules.checkpoints.record import KEY, Record, skeleton_or_reason
from lightning_modules.checkpoints.skeleton import revived
from lightning_modules.preparation import Preparation
from torch_gbp.batches import targeted
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.loading import Saved, check_network


class PortableModule(lightning.LightningModule):
    """Adds to every checkpoint what rebuilds the module, so that `load_from_checkpoint(path)` needs nothing else.

    That is the network and the likelihood without their numbers, the settings, and how the data module prepared inputs
    (`preparation`). Checkpoints load with weights_only=True: classes of torch, torchvision and torch_gbp, and networks whose
    class is imported, are rebuilt and no code of the file runs. A network that cannot be pickled (a lambda, a local class) is
    left out; it has to be passed as `model` then.

    Attributes:
        portable: names of the attributes that are rebuilt.
        settings, attributes: numbers and texts: arguments of the class, and what is set on the module later.
        preparation: of inputs, from the data module; None where there is none.
        inputs: shape and dtype of an example.
        data: data module of a run of the command line, as in its configuration.
    """

    portable: tuple[str, ...] = ("model",)
    settings: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    preparation: Preparation | None = None
    inputs: tuple[tuple[int, ...], str] | None = None
    data: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Takes the preparation of inputs from the data module that it trains on."""
        prepared = getattr(getattr(self.trainer, "datamodule", None), "preparation", None)
        if stage == "fit" or self.preparation is None:
            self.preparation = prepared or self.preparation

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Notes what an example looks like."""
        x, _ = self.pair_of(batch)
        if self.inputs is None and isinstance(x, Tensor):
            self.inputs = tuple(x.shape[1:]), str(x.dtype).removeprefix("torch.")

    def pair_of(self, batch: Any) -> tuple[Any, Any]:
        """Inputs and targets of a batch.

        Raises:
            InvalidInput: a dictionary, or inputs without targets.
        """
        [found] = targeted([batch], type(self).__name__)
        return found[0], found[1]

    def predictions(self, x: Tensor) -> dict[str, Tensor]:
        """What is to be told of the targets of prepared inputs (n, ...), by name; a subclass says it."""
        raise NotImplementedError

    def record(self) -> Record:
        """What rebuilds the module."""
        parts, reason = skeleton_or_reason({name: getattr(self, name) for name in self.portable})
        settings = {name: getattr(self, name) for name in (*self.settings, *self.attributes)}
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return Record(kind, parts, reason, settings, self.preparation, self.inputs, self.data)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.record().saved()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes what the data module would tell; it is there already where a run goes on."""
        if KEY in checkpoint:
            found = Record.loaded(checkpoint[KEY], "the checkpoint")
            self.preparation = self.preparation or found.preparation
            self.inputs, self.data = self.inputs or found.inputs, self.data or found.data

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As torch's, but nothing changes where the state does not fit.

        Raises:
            InvalidInput: the state of another network.
        """
        check_network(self, Saved(state_dict, strict, assign))
        return super().load_state_dict(state_dict, strict, assign)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: Source, map_location: Any = None, hparams_file: Any = None, strict: bool | None = None,
        weights_only: bool | None = True, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """The module as it was saved; nothing but the path is needed.

        Args:
            checkpoint_path: a checkpoint of Lightning's trainer.
            kwargs: arguments of the class in place of those that are saved; `model` for a network that is not in it.

        Raises:
            InvalidInput: no such file, or no checkpoint; a module of another class, of a later version, or one whose network is
                not in the checkpoint or not trusted.
        """
        found = cls._rebuilt(checkpoint_path) if "model" not in kwargs else {}
        arguments = {name: value for name, value in found.items() if name not in cls.attributes}
        options = {"map_location": map_location, "hparams_file": hparams_file, "strict": strict, "weights_only": weights_only}
        module: Any = super().load_from_checkpoint(checkpoint_path, **options, **{**arguments, **kwargs})
        for name in cls.attributes:
            if name in found:
                setattr(module, name, found[name])
        return module

    @classmethod
    def _rebuilt(cls, source: Source) -> dict[str, Any]:
        """Arguments and attributes of the saved module."""
        record = read_record(source)
        own = {f"{one.__module__}.{one.__qualname__}" for one in (cls, *cls.__subclasses__())}
        if record.kind not in own:
            name = record.kind.rpartition(".")[2]
            raise InvalidInput(
                f"the checkpoint is of a {name}", where=str(source), got=f"{cls.__name__}.load_from_checkpoint", fix=f"use {name}"
            )
        if record.parts is None:
            raise InvalidInput(
                "the network is not in the checkpoint",
                where=str(source),
                got=record.reason,
                cause="a lambda, or a class within a function",
                fix="pass model=<the network, built as it was>, and likelihood= if it was not the default",
            )
        return record.settings | revived(record.parts)
