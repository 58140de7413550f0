"""Sizes of a network's inputs and outputs: those that are given, else those of data, else a default."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch_gbp.errors import InvalidInput

Shape = tuple[int, int, int]  # of an image: channels, height, width
MNIST_SHAPE, CIFAR_SHAPE = (1, 28, 28), (3, 32, 32)
CLASSES = 10  # of MNIST and its relatives


@runtime_checkable
class Sized(Protocol):
    """Data that know the shape of an input and the number of outputs, e.g. a data module of `lightning_modules`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def outputs(self) -> int: ...


def sizes_of(
    shape: tuple[int, ...] | None, outputs: int | None, like: Sized | None, default: Shape
) -> tuple[tuple[int, ...], int]:
    """Shape of an input and number of outputs, each as given, else as `like` has it, else the default.

    >>> sizes_of(None, 3, None, MNIST_SHAPE)
    ((1, 28, 28), 3)
    """
    if shape is None:
        shape = default if like is None else like.shape
    if outputs is None:
        outputs = CLASSES if like is None else like.outputs
    return tuple(shape), outputs


def images(shape: tuple[int, ...], where: str) -> Shape:
    """The shape of an image.

    Raises:
        InvalidInput: inputs that are no images (channels, height, width).
    """
    if len(shape) != 3:
        raise InvalidInput(
            "images are needed",
            where=where,
            got=f"inputs of shape {tuple(shape)}",
            cause="a table in place of images",
            fix="give (channels, height, width), or take MLP",
        )
    return (shape[0], shape[1], shape[2])
