"""Pictures: the pixels that were given, on a scale for all, small."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from torch_gbp.reporting.pictures import LARGEST, Pictures, image_shaped


def pixels(source: str) -> np.ndarray:
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_darkest_and_brightest_of_all_are_black_and_white():
    inputs = torch.tensor([[-3.0, 0.0], [1.0, 5.0]]).reshape(1, 1, 2, 2)
    found = pixels(Pictures(inputs).png(inputs[0]))
    assert found[..., 0].tolist() == [[0, 96], [128, 255]]
    assert (found == found[..., :1]).all()


def test_other_inputs_are_on_the_same_scale():
    own = torch.tensor([0.5, 2.5]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    assert pixels(Pictures(own).png(own[0] + 1.0))[0, 0, 0] == 128
    assert pixels(Pictures(own).png(own[0] + 9.0))[0, 0, 0] == 255


@pytest.mark.parametrize(("high", "wanted"), [(1.0, 255), (200.0, 200)])
def test_shares_and_bytes_stay_what_they_are(high, wanted):
    inputs = torch.linspace(0.5 * high, high, 16).reshape(1, 1, 4, 4)
    assert pixels(Pictures(inputs).png(inputs[0]))[-1, -1, 0] == wanted


def test_colours_keep_their_channels_each_on_its_scale():
    inputs = torch.stack([torch.arange(4.0).reshape(2, 2), torch.full((2, 2), 7.0), 9 - torch.arange(4.0).reshape(2, 2)])[None]
    found = pixels(Pictures(inputs).png(inputs[0]))
    assert found[0, 0].tolist() == [0, 0, 255] and found[1, 1].tolist() == [255, 0, 0]


def test_large_images_are_averaged_down_and_keep_their_shape():
    image = torch.rand(1, 3, 256, 128)
    found = pixels(Pictures(image).png(image[0]))
    assert found.shape == (LARGEST, LARGEST // 2, 3)
    expected = 255 * image[0].reshape(3, 64, 4, 32, 4).mean((2, 4))
    np.testing.assert_allclose(found.transpose(2, 0, 1), expected, atol=0.51)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((5, 1, 8, 8), True), ((5, 3, 8, 8), True), ((5, 8, 8), True), ((5, 2, 8, 8), False), ((5, 3, 3), False), ((5, 64), False)],
)
def test_what_is_an_image(shape, wanted):
    assert image_shaped(torch.zeros(shape)) == wanted


def test_no_inputs_are_no_images():
    assert not image_shaped(None)
