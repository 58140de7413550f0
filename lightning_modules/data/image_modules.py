"""Data modules for images: digits, MNIST, FashionMNIST, CIFAR-10 and CIFAR-100, with OOD test sets and augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.data.augmentation import Augmentation, check_crop, check_options, smoothed
from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.images import Images, load_cifar10, load_cifar100, load_digits, load_fashion_mnist, load_mnist
from lightning_modules.data.loading import TensorPairs, split_indices
from lightning_modules.data.ood import Source, ood_images
from lightning_modules.networks.sizes import CIFAR_SHAPE, CLASSES, MNIST_SHAPE
from lightning_modules.preparation import Preparation


class Normaliser:
    """Standardises uint8 images (n, c, h, w) by the mean and standard deviation of each channel of a training set.

    >>> images = torch.tensor([0, 2], dtype=torch.uint8).reshape(2, 1, 1, 1)
    >>> Normaliser(images)(images).flatten()
    tensor([-1.,  1.])
    """

    def __init__(self, train_x: Tensor) -> None:
        # Exact moments from a histogram of each channel, without a floating-point copy of the whole set.
        counts = torch.stack([train_x[:, channel].flatten().bincount(minlength=256) for channel in range(train_x.shape[1])])
        weights, values = counts.double() / counts.sum(1, keepdim=True), torch.arange(256).double()
        mean, square = weights @ values, weights @ values.square()
        self.mean = mean.float().view(-1, 1, 1)
        self.std = (square - mean.square()).sqrt().float().view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().sub_(self.mean).div_(self.std)  # in place: float() has made the copy


class ImageDataModule(TensorDataModule):
    """Images in memory, standardised by the training part's statistics (OOD sets by the same).

    `crop`, `flip` and `label_smoothing` change training batches alone. Crops and flips are drawn anew at every visit,
    from torch's global generator (the same after the same `torch.manual_seed`), so they refuse `fixed_batches`.

    Args:
        data_dir: folder of the data sets.
        ood: names of OOD test sets (`lightning_modules.data.ood.OOD_SETS`).
        download: fetch a missing set.
        crop: black pixels around a training image before a window of its size is cut out at random; 4 is usual for
            32 x 32, 0 is none.
        flip: mirror training images left to right at random (not for digits and letters).
        label_smoothing: share of the probability spread over all classes; above 0 the training targets are
            probabilities (n, classes).
        batch_size, validation, fixed_batches, seed: as in `TensorDataModule`.
    """

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 64,
        validation: float = 0.1,
        ood: Sequence[str] = (),
        fixed_batches: bool = False,
        seed: int = 0,
        download: bool = True,
        crop: int = 0,
        flip: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(batch_size, validation, fixed_batches, seed)
        check_options(crop, label_smoothing, type(self).__name__)
        self.data_dir, self.ood, self.download = data_dir, tuple(ood), download
        self.crop, self.flip, self.label_smoothing = crop, flip, label_smoothing

    def load(self) -> Images:
        """The images as they are."""
        raise NotImplementedError

    def make_parts(self) -> Parts:
        images = self.load()
        train, held_out = split_indices(len(images.train_x), self.validation, self.seed)
        self.normalise = Normaliser(images.train_x[train])
        self.preparation = Preparation(self.normalise.mean, self.normalise.std)
        self.augment = self._augmentation(images.train_x)
        source = Source(images, self.data_dir, self.download, self.seed)
        outside = {name: ood_images(name, source) for name in self.ood}
        return Parts(
            train=self._pairs(images.train_x[train], self._targets(images.train_y)[train]),
            validation=self._pairs(images.train_x[held_out], images.train_y[held_out]) if len(held_out) else None,
            test=self._pairs(images.test_x, images.test_y),
            # OOD images have no class: their labels are never looked at.
            ood={name: self._pairs(x, torch.zeros(len(x), dtype=torch.long)) for name, x in outside.items()},
        )

    def _pairs(self, images: Tensor, labels: Tensor) -> TensorPairs:
        return TensorPairs(self.normalise(images), labels)

    def _targets(self, labels: Tensor) -> Tensor:
        """What training batches say about the classes: labels, or probabilities if they are smoothed."""
        return smoothed(labels, int(labels.max()) + 1, self.label_smoothing) if self.label_smoothing else labels

    def _augmentation(self, images: Tensor) -> Augmentation | None:
        if not (self.crop or self.flip):
            return None
        check_crop(self.crop, images, type(self).__name__)
        black = self.normalise(torch.zeros_like(images[:1, :, :1, :1]))
        return Augmentation(self.crop, self.flip, black.flatten().tolist())


class Digits(ImageDataModule):
    """The 8 x 8 digits that come with scikit-learn: 1297 for training, 500 for testing; no files needed."""

    sizes = (1, 8, 8), CLASSES

    def load(self) -> Images:
        return load_digits()


class MNIST(ImageDataModule):
    """MNIST: handwritten digits, 1 x 28 x 28."""

    sizes = MNIST_SHAPE, CLASSES

    def load(self) -> Images:
        return load_mnist(self.data_dir, self.download)


class FashionMNIST(ImageDataModule):
    """FashionMNIST: ten kinds of clothing, 1 x 28 x 28."""

    sizes = MNIST_SHAPE, CLASSES

    def load(self) -> Images:
        return load_fashion_mnist(self.data_dir, self.download)


class CIFAR10(ImageDataModule):
    """CIFAR-10: ten kinds of things, 3 x 32 x 32.

    Args:
        accept_altered: read a copy whose checksums are not the original's, see `load_cifar10`.
        data_dir, batch_size, validation, ood, fixed_batches, seed, download: as in `ImageDataModule`.
        crop, flip, label_smoothing: as in `ImageDataModule`; usual are crop=4 and flip.
    """

    sizes = CIFAR_SHAPE, CLASSES

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 64,
        validation: float = 0.1,
        ood: Sequence[str] = (),
        fixed_batches: bool = False,
        seed: int = 0,
        download: bool = True,
        accept_altered: bool = False,
        crop: int = 0,
        flip: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(data_dir, batch_size, validation, ood, fixed_batches, seed, download, crop, flip, label_smoothing)
        self.accept_altered = accept_altered

    def load(self) -> Images:
        return load_cifar10(self.data_dir, self.download, self.accept_altered)


class CIFAR100(CIFAR10):
    """CIFAR-100: a hundred kinds of things, 3 x 32 x 32; arguments as of `CIFAR10`."""

    sizes = CIFAR_SHAPE, 100

    def load(self) -> Images:
        return load_cifar100(self.data_dir, self.download, self.accept_altered)
