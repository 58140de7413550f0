"""How much memory a training step keeps between forward and backward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class KeptBytes(saved_tensors_hooks):
    """Counts the bytes of all tensors that autograd keeps for a backward pass, each storage once.

    `bytes` is the sum over a forward pass made inside: the activations, the input among them, that are in memory when
    the backward pass begins.

    Args:
        weights: parameters, which are in memory anyway and not counted.

    >>> import torch
    >>> layer, x = torch.nn.Linear(4, 4), torch.randn(8, 4)
    >>> with KeptBytes(layer.parameters()) as kept:
    ...     loss = layer(x).square().sum()
    >>> kept.bytes == 2 * x.numel() * x.element_size()
    True
    """

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        super().__init__(self._keep, lambda tensor: tensor)
        self.bytes = 0
        self._seen = {weight.untyped_storage()._cdata for weight in weights}
        self._storages: list[Any] = []  # kept alive, so that no other storage gets the place of one that was counted

    def __enter__(self) -> KeptBytes:
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._storages.clear()

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._storages.append(storage)
            self.bytes += storage.nbytes()
        return tensor
