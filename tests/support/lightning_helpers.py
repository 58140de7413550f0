"""A quiet trainer, small data and tiny files for the tests of lightning_modules."""

import pickle
import struct

import lightning
import numpy as np
import torch

from lightning_modules.data.base import Parts, TensorDataModule
from lightning_modules.data.loading import TensorPairs

# Lightning's own advice, about speed on many cores and a deprecated helper of torch that it still calls.
IGNORED = (
    "ignore:.*does not have many workers:lightning.pytorch.utilities.warnings.PossibleUserWarning",
    "ignore:.*isinstance.treespec, LeafSpec.* is deprecated",
    "ignore:.*The number of training batches .* is smaller than the logging interval",
    "ignore:.*no `val_dataloader`:lightning.pytorch.utilities.warnings.PossibleUserWarning",
)


def trainer(epochs, **options):
    """A trainer without output, files or validation."""
    quiet = {
        "limit_val_batches": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return lightning.Trainer(accelerator="cpu", max_epochs=epochs, **(quiet | options))


def same_preparation(one, other):
    """Whether two preparations do the same and name the same."""
    names = one._replace(mean=None, std=None) == other._replace(mean=None, std=None)
    return names and torch.equal(one.mean, other.mean) and torch.equal(one.std, other.std)


class Blobs(TensorDataModule):
    """Three classes of points in the plane, and an OOD set far from all; `size` training and 30 test points."""

    def __init__(self, size=48, batch_size=8, fixed_batches=False, validation=0.0):
        super().__init__(batch_size, validation, fixed_batches, seed=0)
        self.size = size

    def make_parts(self):
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(self.size + 30) % 3
        x = 2 * torch.nn.functional.one_hot(y, 3)[:, :2] + 0.3 * torch.randn(len(y), 2, generator=generator)
        train, test = TensorPairs(x[30:], y[30:]), TensorPairs(x[:30], y[:30])
        held_out = test if self.validation else None
        return Parts(train, held_out, test, {"middle": TensorPairs(torch.full((20, 2), 0.66), torch.zeros(20).long())})


def write_idx(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_cifar100(folder):
    """Made-up files of CIFAR-100, with other checksums than the original's: 10 and 2 images, of the classes 9 i and 99."""
    cifar = folder / "cifar-100-python"
    cifar.mkdir()
    for name, size in (("train", 10), ("test", 2)):
        planes = np.arange(32)[None, None, :, None] + 20 * np.arange(size)[:, None, None, None] + np.zeros((size, 3, 32, 32))
        labels = [9 * number for number in range(size - 1)] + [99]
        pixels = planes.astype(np.uint8).reshape(size, -1)
        (cifar / name).write_bytes(pickle.dumps({"data": pixels, "fine_labels": labels, "coarse_labels": [0] * size}))


def write_image_sets(folder):
    """MNIST, FashionMNIST and notMNIST with 12 training and 5 test images each, CIFAR-10 with 2 per file."""
    generator = np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST", "notMNIST"):
        for part, size in (("train", 12), ("t10k", 5)):
            raw = folder / name / "raw"
            write_idx(raw / f"{part}-images-idx3-ubyte", generator.integers(0, 256, (size, 28, 28)))
            write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(size) % 10)
    cifar = folder / "cifar-10-batches-py"
    cifar.mkdir()
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        planes = np.array([10, 20, 30])[:, None, None] + np.arange(32)[None, :, None] + np.zeros((3, 32, 32))
        pixels = np.stack([planes, planes + number**3]).astype(np.uint8).reshape(2, -1)  # red, green, blue; brighter downwards
        (cifar / name).write_bytes(pickle.dumps({"data": pixels, "labels": [number, 9]}))
