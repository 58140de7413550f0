"""Sizes of a network's inputs and outputs."""

from __future__ import annotations

from torch_gbp.errors import InvalidInput

Shape = tuple[int, int, int]  # of an image: channels, height, width
MNIST_SHAPE, CIFAR_SHAPE = (1, 28, 28), (3, 32, 32)
CLASSES = 10  # of MNIST and its relatives


def sizes_of(shape: tuple[int, ...] | None, outputs: int | None, default: Shape) -> tuple[tuple[int, ...], int]:
    """Shape of an input and number of outputs, each as given, else the default; the command line gives those of its data.

    >>> sizes_of(None, 3, MNIST_SHAPE)
    ((1, 28, 28), 3)
    """
    return tuple(default if shape is None else shape), CLASSES if outputs is None else outputs


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
