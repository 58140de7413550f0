"""Preparation: what leads from the values of a data set to the inputs of a network, and names what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput


class Preparation(NamedTuple):
    """Standardisation (values - mean) / std of inputs, in float32, with the names of columns, target and classes.

    Checkpoints carry it, so that a prediction needs neither the training data nor the script that read them.

    Args:
        mean, std: of the training part, shaped to broadcast over an input: (columns,), or (channels, 1, 1) for images.
        columns: names of the features of a table, in their order; empty for images.
        target: name of the target's column.
        classes: names of the classes, by their numbers; empty for real targets, and where nobody named them.

    >>> Preparation(torch.tensor([1.0]), torch.tensor([2.0]))(torch.tensor([[5]]))
    tensor([[2.]])
    """

    mean: Tensor
    std: Tensor
    columns: tuple[str, ...] = ()
    target: str = ""
    classes: tuple[str, ...] = ()

    def __call__(self, values: Tensor) -> Tensor:
        """Inputs of the network.

        Raises:
            InvalidInput: inputs of another shape than those of the training.
        """
        shape, own = values.shape[1:], self.mean.shape
        if len(shape) != len(own) or any(b not in (1, a) for a, b in zip(shape, own, strict=True)):
            channels = f"images of {own[0]} channels (n, {own[0]}, height, width)" if len(own) == 3 else f"(n, {own[0]})"
            raise InvalidInput(
                f"the inputs must be {channels}, as those of the training",
                where="Preparation",
                got=f"shape {tuple(values.shape)}",
                cause="other data, or a missing batch axis",
                fix="check what the file holds",
            )
        return ((values - self.mean) / self.std).float()

    def saved(self) -> dict[str, Any]:
        """Tensors and lists, for a checkpoint."""
        return self._asdict() | {"columns": list(self.columns), "classes": list(self.classes)}

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> Preparation:
        """The inverse of `saved`."""
        return cls(**{**saved, "columns": tuple(saved["columns"]), "classes": tuple(saved["classes"])})

    def to(self, device: torch.device) -> Preparation:
        """The same on a device."""
        return self._replace(mean=self.mean.to(device), std=self.std.to(device))
