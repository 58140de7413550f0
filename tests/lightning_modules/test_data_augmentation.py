"""Augmentation and label smoothing: every image by itself, training batches alone, off unless asked for."""

import pytest
import torch
import torch.nn.functional as F
from lightning_helpers import write_image_sets

from lightning_modules.data import CIFAR10, Digits
from lightning_modules.data.augmentation import random_crop, random_flip, smoothed
from torch_gbp.errors import InvalidInput

FILL = [-1.0, -2.0, -3.0]


@pytest.fixture
def images():
    """Images 3 x 5 x 6 without two equal pixels."""
    return torch.arange(1.0, 400 * 90 + 1).reshape(400, 3, 5, 6)


def shifted(image, down, right, padding):
    """The window at a shift, by a plain loop over pixels."""
    out = torch.tensor(FILL).view(3, 1, 1).expand(3, 5, 6).clone()
    for row in range(5):
        for column in range(6):
            y, x = row + down - padding, column + right - padding
            if 0 <= y < 5 and 0 <= x < 6:
                out[:, row, column] = image[:, y, x]
    return out


def test_every_image_has_a_crop_of_its_own(images):
    shifts = [(down, right) for down in range(5) for right in range(5)]
    found = []
    for image, cropped in zip(images[:40], random_crop(images[:40], 2, FILL), strict=True):
        found += [shift for shift in shifts if torch.equal(shifted(image, *shift, padding=2), cropped)]
    assert len(found) == 40 and len(set(found)) > 12


def test_all_shifts_are_equally_likely():
    position = torch.zeros(4000, 1, 5, 6)
    position[:, 0, 2, 3] = 1.0  # stays inside at every shift, and marks it
    seen = random_crop(position, 2, [0.0]).flatten(1).argmax(1).bincount(minlength=30).reshape(5, 6)
    counts = seen[:, 1:].flatten()
    assert int(seen[:, 0].sum()) == 0 and int(counts.sum()) == 4000
    assert counts.min() > 100 and counts.max() < 225  # 160 expected, standard deviation 12.4


def test_every_image_is_flipped_or_not(images):
    flipped = random_flip(images)
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(flipped, images, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def batches(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [tuple(batch) for batch in loader]


def test_draws_follow_the_torch_seed():
    data = Digits(validation=0.0, crop=1, flip=True)
    data.setup()
    torch.manual_seed(5)
    first, second = batches(data), batches(data)
    torch.manual_seed(5)
    torch.testing.assert_close(batches(data), first, atol=0, rtol=0)
    assert not torch.equal(first[0][0], second[0][0])
    torch.testing.assert_close(first[0][1], second[0][1])  # the same images, changed anew


def test_only_training_batches_change_and_only_if_asked():
    plain, changed = Digits(), Digits(crop=1, flip=True, label_smoothing=0.1)
    plain.setup()
    changed.setup()
    for name in ("val_dataloader", "test_dataloader"):
        (before,), (after,) = (getattr(data, name)() for data in (plain, changed))
        torch.testing.assert_close(list(after), list(before), atol=0, rtol=0)
    torch.testing.assert_close(next(iter(changed.predict_dataloader())), next(iter(plain.predict_dataloader())))
    order = list(plain.train_dataloader().sampler)
    x, y = (torch.cat(part) for part in zip(*batches(plain), strict=True))
    torch.testing.assert_close(x, plain.parts.train.tensors[0][order])  # off by default: the images as they are
    assert not y.is_floating_point()
    moved = (batches(changed)[0][0] != batches(plain)[0][0]).flatten(1).any(1)
    assert moved.double().mean() > 0.8


def test_padding_is_black(tmp_path):
    write_image_sets(tmp_path)
    data = CIFAR10(str(tmp_path), validation=0.0, download=False, accept_altered=True, crop=4)
    data.setup()
    pixels = torch.cat([x for x, _ in batches(data)]) * data.normalise.std + data.normalise.mean
    assert float(pixels.min()) == pytest.approx(0.0, abs=1e-3)  # the images' own pixels are 10 or more
    black = pixels.abs() < 1e-3
    assert torch.equal(black[:, 0], black[:, 2]) and 0 < black.double().mean() < 0.3


def test_smoothed_labels_have_the_cross_entropy_of_torch():
    logits, labels = torch.randn(20, 7), torch.randint(7, (20,))
    soft = smoothed(labels, 7, 0.3)
    torch.testing.assert_close(soft.sum(1), torch.ones(20))
    torch.testing.assert_close(F.cross_entropy(logits, soft), F.cross_entropy(logits, labels, label_smoothing=0.3))


@pytest.mark.parametrize("fixed", [False, True])
def test_smoothing_gives_probabilities_of_all_classes(fixed):
    plain, soft = (Digits(validation=0.2, fixed_batches=fixed, label_smoothing=amount) for amount in (0.0, 0.2))
    plain.setup()
    soft.setup()
    (_, y, *_), (_, p, *_) = (next(iter(data.train_dataloader())) for data in (plain, soft))
    assert p.shape == (64, 10) and p.dtype == torch.float32
    torch.testing.assert_close(p, 0.8 * F.one_hot(y, 10) + 0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": -1}, r"crop, in pixels, must be an integer, at least 0 and below 2\^31 \(in Digits\)\. Got: -1"),
        ({"crop": 0.1}, r"in pixels.*Got: 0\.1"),
        ({"crop": True}, r"in pixels.*Got: True"),
        ({"label_smoothing": 1.0}, r"must be in \[0, 1\) \(in Digits\)\. Got: 1\.0"),
        ({"label_smoothing": -0.1}, r"must be in \[0, 1\).*Got: -0\.1"),
        ({"label_smoothing": float("nan")}, r"must be in \[0, 1\).*Got: nan"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InvalidInput, match=message):
        Digits(**options)


def test_crop_as_large_as_the_images():
    with pytest.raises(InvalidInput, match=r"smaller than the images.*crop=8, images \(8, 8\)"):
        Digits(crop=8).setup()


@pytest.mark.parametrize("options", [{"crop": 1}, {"flip": True}])
def test_fixed_batches_refuse_augmentation(options):
    data = Digits(fixed_batches=True, **options)
    data.setup()
    with pytest.raises(InvalidInput, match=r"fixed batches must hold the same inputs.*AveragedSites"):
        data.train_dataloader()
