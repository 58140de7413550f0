"""Image sets as uint8 tensors: pure functions from a directory to `Images`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor
from torchvision import datasets

from lightning_modules.data.idx import read_idx
from torch_gbp.errors import InvalidInput

DIGITS_TEST = 500  # of the 1797 digits
DIGITS_SEED = 0  # the test split is part of the data set: it is the same for every seed of an experiment


class Images(NamedTuple):
    """A set of images: uint8 (n, channels, height, width), labels int64 (n,), and the largest pixel value."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    brightest: int = 255


def load_digits() -> Images:
    """The 1797 digits (8 x 8, values 0 to 16) that come with scikit-learn; 500 of them are the test split.

    >>> load_digits().train_x.shape
    torch.Size([1297, 1, 8, 8])
    """
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    x = torch.from_numpy(pixels).to(torch.uint8).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(DIGITS_SEED))
    test, train = order[:DIGITS_TEST], order[DIGITS_TEST:]
    return Images(x[train], y[train], x[test], y[test], brightest=16)


def load_mnist(data_dir: str | Path, download: bool = True) -> Images:
    """MNIST from DIR/MNIST/raw: 60000 and 10000 images, 1 x 28 x 28."""
    return _load_torchvision(datasets.MNIST, data_dir, download)


def load_fashion_mnist(data_dir: str | Path, download: bool = True) -> Images:
    """FashionMNIST from DIR/FashionMNIST/raw: 60000 and 10000 images, 1 x 28 x 28."""
    return _load_torchvision(datasets.FashionMNIST, data_dir, download)


def load_cifar10(data_dir: str | Path, download: bool = True, accept_altered: bool = False) -> Images:
    """CIFAR-10 from DIR/cifar-10-batches-py: 50000 and 10000 images, 3 x 32 x 32.

    Args:
        accept_altered: read a copy whose checksums are not the original's. The files are pickles, which can
            run code when read: use it for files you trust.

    Raises:
        InvalidInput: files missing, or altered without `accept_altered`.
    """
    return _load_torchvision(_AnyCIFAR10 if accept_altered else datasets.CIFAR10, data_dir, download)


def load_cifar100(data_dir: str | Path, download: bool = True, accept_altered: bool = False) -> Images:
    """CIFAR-100 from DIR/cifar-100-python: 50000 and 10000 images, 3 x 32 x 32, the 100 fine classes.

    Args:
        accept_altered: as in `load_cifar10`.

    Raises:
        InvalidInput: files missing, or altered without `accept_altered`.
    """
    return _load_torchvision(_AnyCIFAR100 if accept_altered else datasets.CIFAR100, data_dir, download)


def load_notmnist(data_dir: str | Path) -> Tensor:
    """The notMNIST images (letters, uint8 (n, 1, 28, 28)) from DIR/notMNIST/raw/t10k-images-idx3-ubyte."""
    return read_idx(Path(data_dir) / "notMNIST" / "raw" / "t10k-images-idx3-ubyte", axes=3).unsqueeze(1)


class _Unchecked(datasets.CIFAR10):
    """CIFAR without checksums: the files have to exist, their content is taken as it is."""

    def _check_integrity(self) -> bool:
        folder = Path(self.root) / self.base_folder
        return all((folder / name).is_file() for name, _ in [*self.train_list, *self.test_list])

    def _load_meta(self) -> None:
        """The class names are not used."""


class _AnyCIFAR10(_Unchecked):
    """CIFAR-10 without checksums."""


class _AnyCIFAR100(_Unchecked, datasets.CIFAR100):
    """CIFAR-100 without checksums."""


def _load_torchvision(kind: Any, data_dir: str | Path, download: bool) -> Images:
    try:
        train, test = (kind(str(data_dir), train=part, download=download) for part in (True, False))
    except (RuntimeError, OSError) as error:  # missing or altered files, or no network to fetch them from
        raise _missing(kind, data_dir, download) from error
    return Images(*_tensors(train), *_tensors(test))


def _tensors(data: Any) -> tuple[Tensor, Tensor]:
    """Pixels as (n, c, h, w): torchvision keeps grey images as (n, h, w) and coloured ones as arrays (n, h, w, c)."""
    pixels, labels = torch.as_tensor(np.asarray(data.data)), torch.as_tensor(np.asarray(data.targets))
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return pixels, labels.long()


def _missing(kind: Any, data_dir: str | Path, download: bool) -> InvalidInput:
    cifar, altered = issubclass(kind, datasets.CIFAR10), issubclass(kind, _Unchecked)
    advice = "accept_altered=True reads a copy with other checksums, if you trust it" if cifar and not altered else ""
    advice = "pass the folder that holds it" + ("" if download else ", or download=True") + (f"; {advice}" if advice else "")
    return InvalidInput(
        f"{kind.__name__.removeprefix('_Any')} was not found or has other checksums than the original",
        where=str(data_dir),
        cause="another data_dir, or a copy whose files were rewritten" if cifar else "another data_dir",
        fix=advice,
    )
