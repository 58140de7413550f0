"""Image sets from tiny files: values, shapes, statistics, OOD sets and the errors that show the way out."""

import struct

import numpy as np
import pytest
import torch
from lightning_helpers import write_cifar100, write_idx, write_image_sets

from lightning_modules.data import CIFAR10, CIFAR100, MNIST, Digits, FashionMNIST
from lightning_modules.data.idx import read_idx
from lightning_modules.data.images import Images, load_cifar10, load_cifar100, load_digits, load_mnist, load_notmnist
from lightning_modules.data.ood import FITTING, OOD_SETS, Source, blurred, inverted, noise, ood_images, shuffled
from torch_gbp.errors import InvalidInput


@pytest.fixture
def data_dir(tmp_path):
    write_image_sets(tmp_path)
    return tmp_path


def test_idx_reads_what_was_written(tmp_path):
    values = np.arange(24).reshape(2, 3, 4)
    write_idx(tmp_path / "file", values)
    assert read_idx(tmp_path / "file", axes=3).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\x00 packed", "not an idx file of unsigned bytes with 3 axes"),
        (struct.pack(">BBBBiii", 0, 0, 8, 3, 2, 2, 2) + b"123", r"3 bytes for sizes \[2, 2, 2\]"),
    ],
)
def test_idx_refuses_other_content(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_idx(tmp_path / "file", axes=3)


def test_missing_notmnist_names_the_file(tmp_path):
    with pytest.raises(InvalidInput, match=r"notMNIST.raw.t10k-images-idx3-ubyte"):
        load_notmnist(tmp_path)


def test_mnist_is_read_as_it_lies(data_dir):
    images = load_mnist(data_dir, download=False)
    assert images.train_x.shape == (12, 1, 28, 28) and images.test_x.shape == (5, 1, 28, 28)
    raw = read_idx(data_dir / "MNIST" / "raw" / "train-images-idx3-ubyte", axes=3)
    torch.testing.assert_close(images.train_x[:, 0], raw)
    assert images.train_y.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_missing_mnist_names_the_folder(tmp_path):
    with pytest.raises(InvalidInput, match=r"MNIST was not found.*download=True"):
        load_mnist(tmp_path, download=False)


def test_altered_cifar_needs_the_flag(data_dir):
    with pytest.raises(InvalidInput, match=r"CIFAR10 was not found or has other checksums.*accept_altered=True"):
        load_cifar10(data_dir, download=False)
    images = load_cifar10(data_dir, download=False, accept_altered=True)
    assert images.train_x.shape == (10, 3, 32, 32) and images.test_x.shape == (2, 3, 32, 32)
    assert images.train_x[0, :, 5, 7].tolist() == [15, 25, 35]  # channel, row, column
    assert images.test_y.tolist() == [5, 9]


def test_missing_cifar_is_missing_even_with_the_flag(tmp_path):
    with pytest.raises(InvalidInput, match="CIFAR10 was not found"):
        load_cifar10(tmp_path, download=False, accept_altered=True)


def test_cifar_100_has_its_fine_classes(tmp_path):
    write_cifar100(tmp_path)
    with pytest.raises(InvalidInput, match=r"CIFAR100 was not found or has other checksums.*accept_altered=True"):
        load_cifar100(tmp_path, download=False)
    images = load_cifar100(tmp_path, download=False, accept_altered=True)
    assert images.train_x.shape == (10, 3, 32, 32) and images.train_x[3, 1, 5, 7] == 65
    assert images.train_y.tolist() == [0, 9, 18, 27, 36, 45, 54, 63, 72, 99] and images.test_y.tolist() == [0, 99]
    assert CIFAR100(str(tmp_path), download=False, accept_altered=True).load().train_x.equal(images.train_x)
    assert CIFAR100.sizes == ((3, 32, 32), 100)


def test_digits_are_split_once_and_for_all():
    first, second = load_digits(), load_digits()
    assert (len(first.train_x), len(first.test_x), first.brightest) == (1297, 500, 16)
    torch.testing.assert_close(first, second)
    assert int(first.train_x.max()) == 16


def test_standardised_by_the_training_part_alone(data_dir):
    data = CIFAR10(str(data_dir), batch_size=4, validation=0.3, ood=["inverted"], download=False, accept_altered=True)
    data.setup()
    train = data.parts.train.tensors[0]
    torch.testing.assert_close(train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    back = data.parts.ood["inverted"].tensors[0] * data.normalise.std + data.normalise.mean
    torch.testing.assert_close(back[0, :, 0, 0], 255 - torch.tensor([10.0, 20.0, 30.0]), atol=1e-3, rtol=0)
    assert data.parts.validation is not None and len(data.parts.validation) == 3


def test_test_loaders_come_in_the_order_of_their_names(data_dir):
    data = MNIST(str(data_dir), ood=["FashionMNIST", "notMNIST", "shuffled"], download=False)
    data.setup()
    assert data.test_names == ["test", "FashionMNIST", "notMNIST", "shuffled"]
    inputs = [next(iter(loader))[0] for loader in data.test_dataloader()]
    letters = data.normalise(load_notmnist(data_dir))
    torch.testing.assert_close(inputs[2], letters)
    assert inputs[0].shape == inputs[3].shape


def test_fashion_mnist_without_validation(data_dir):
    data = FashionMNIST(str(data_dir), validation=0.0, download=False)
    data.setup()
    assert data.val_dataloader() == []
    assert len(data.parts.train) == 12


def test_shuffled_keeps_grey_values_and_inverted_turns_them():
    source = Source(load_digits(), ".", False, seed=3)
    mixed = shuffled(source).flatten(1)
    original = source.images.test_x.flatten(1)
    torch.testing.assert_close(mixed.sort(1).values, original.sort(1).values)
    assert (mixed != original).any(1).all()
    alike = source._replace(
        images=source.images._replace(test_x=torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(3, 1, 1, 1))
    )
    assert len({tuple(image.flatten().tolist()) for image in shuffled(alike)}) == 3  # every image has an order of its own
    torch.testing.assert_close(inverted(source) + source.images.test_x, torch.full_like(source.images.test_x, 16))


def rainbow(size=64, seed=0):
    """A source of images 3 x 32 x 32, whose channels differ in mean and spread, and rise and fall together."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.tensor([40, 100, 160]).view(3, 1, 1) + torch.randint(-30, 30, (2, size, 1, 32, 32), generator=generator)
    levels[:, :, 0] *= 2
    x, y = levels.to(torch.uint8), torch.zeros(size).long()
    return Source(Images(x[0], y, x[1], y), ".", False, seed)


def test_noise_has_the_training_pixels_moments_and_no_structure():
    source = rainbow()
    drawn = noise(source).double()
    train = source.images.train_x.double()
    torch.testing.assert_close(drawn.mean((0, 2, 3)), train.mean((0, 2, 3)), atol=0.5, rtol=0)
    torch.testing.assert_close(drawn.std((0, 2, 3)), train.std((0, 2, 3)), atol=0.5, rtol=0)
    correlation = torch.corrcoef(drawn.transpose(0, 1).flatten(1))  # the channels are drawn one by one
    torch.testing.assert_close(correlation, torch.eye(3, dtype=torch.float64), atol=0.02, rtol=0)
    torch.testing.assert_close(noise(source), noise(source))
    assert (noise(source) != noise(rainbow(seed=1))).double().mean() > 0.9


def test_noise_is_drawn_from_every_part_of_every_training_image():
    """Images of one grey value each, and of one for every row: all values come, about equally often."""
    by_image = torch.arange(64, dtype=torch.uint8).view(64, 1, 1, 1).expand(64, 1, 8, 8)
    by_row = torch.arange(64, dtype=torch.uint8).view(1, 1, 64, 1).expand(8, 1, 64, 8)
    for train in (by_image, by_row):
        labels, test = torch.zeros(len(train)).long(), torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
        counts = noise(Source(Images(train, labels, test, labels), ".", False, 0)).flatten().long().bincount(minlength=64)
        assert int(counts.min()) > 140 and int(counts.max()) < 260  # 200 each on average, deviation 14


def test_blur_is_the_gaussian_of_three_pixels():
    """Across a bright line the grey values are exp(-d^2 / 18), up to six pixels away."""
    line = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    line[..., 16] = 255
    source = rainbow()._replace(images=Images(0 * line, torch.zeros(1), line, torch.zeros(1)))
    row, offset = blurred(source)[0, 0, 16].double(), torch.arange(-16.0, 17)
    weights = torch.exp(-offset.square() / 18) * (offset.abs() <= 6)
    torch.testing.assert_close(row / row.sum(), (weights / weights.sum()).double(), atol=0.003, rtol=0)


def test_made_up_sets_become_test_loaders_of_cifar(data_dir):
    data = CIFAR10(str(data_dir), ood=["noise", "blurred"], download=False, accept_altered=True, seed=4)
    data.setup()
    assert data.test_names == ["test", "noise", "blurred"]
    _, drawn, soft = (next(iter(loader))[0] for loader in data.test_dataloader())
    source = Source(data.load(), data_dir, False, seed=4)
    torch.testing.assert_close(drawn, data.normalise(noise(source)))
    torch.testing.assert_close(soft, data.normalise(blurred(source)))


@pytest.mark.parametrize("name", FITTING)
def test_made_up_sets_fit_the_smallest_images(name):
    source = Source(load_digits(), ".", False, 0)
    made = ood_images(name, source)
    assert made.shape == source.images.test_x.shape and made.dtype == torch.uint8
    assert int(made.max()) <= 16


def test_unknown_ood_set_lists_the_known_ones():
    with pytest.raises(InvalidInput, match=f"unknown OOD set.*{', '.join(OOD_SETS)}"):
        ood_images("SVHN", Source(load_digits(), ".", False, 0))


def test_ood_images_of_another_shape(data_dir):
    with pytest.raises(InvalidInput, match=r"\(1, 28, 28\) and \(1, 8, 8\).*shuffled, inverted, noise, blurred"):
        ood_images("notMNIST", Source(load_digits(), data_dir, False, 0))


def test_parts_before_setup():
    with pytest.raises(InvalidInput, match=r"not loaded yet.*setup\(\)"):
        Digits().parts  # noqa: B018
