"""Record: what a checkpoint holds beside Lightning's own entries."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lightning_modules.checkpoints.skeleton import skeleton
from lightning_modules.preparation import Preparation
from torch_gbp import __version__
from torch_gbp.errors import InvalidInput

KEY = "torch_gbp"  # of the record in a checkpoint
FORMAT = 1


class Record(NamedTuple):
    """What rebuilds a module: its class, its parts without numbers, its settings; and how inputs are prepared.

    Args:
        kind: qualified name of the module's class.
        parts: the skeleton; None where a part cannot be pickled, for the `reason`.
        settings: arguments and attributes that are numbers or texts.
        preparation: of inputs, None where nobody has told.
        inputs: shape of an example and name of its dtype, e.g. ((1, 28, 28), "float32"); None before the first batch.
        data: the data module of the command line, as in a configuration; None for other runs.
        version: of torch_gbp.
        format: of the record.
    """

    kind: str
    parts: Tensor | None
    reason: str
    settings: dict[str, Any]
    preparation: Preparation | None = None
    inputs: tuple[tuple[int, ...], str] | None = None
    data: dict[str, Any] | None = None
    version: str = __version__
    format: int = FORMAT

    def saved(self) -> dict[str, Any]:
        """Tensors, numbers, texts, lists and dicts."""
        inputs = None if self.inputs is None else [list(self.inputs[0]), self.inputs[1]]
        return self._asdict() | {"inputs": inputs, "preparation": self.preparation and self.preparation.saved()}

    @classmethod
    def loaded(cls, saved: Mapping[str, Any], where: str) -> Record:
        """The inverse of `saved`.

        Raises:
            InvalidInput: a record of a later format.
        """
        if saved["format"] > FORMAT:
            raise InvalidInput(
                "the checkpoint is of a later version",
                where=where,
                got=f"format {saved['format']} of torch_gbp {saved['version']}, this is {FORMAT} of {__version__}",
                fix=f"install torch_gbp {saved['version']} or later",
            )
        inputs, preparation = saved["inputs"], saved["preparation"]
        shape = None if inputs is None else (tuple(inputs[0]), inputs[1])
        return cls(**{**saved, "inputs": shape, "preparation": preparation and Preparation.loaded(preparation)})


def skeleton_or_reason(parts: dict[str, Any]) -> tuple[Tensor | None, str]:
    """The skeleton of the parts, or why there is none: checkpoints are written all the same, without the network."""
    try:
        return skeleton(parts), ""
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        return None, str(error)
