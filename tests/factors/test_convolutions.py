"""The transposed convolution, where it is computed as a convolution with the turned kernel and where it cannot be."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from torch_gbp.factors.convolutions import CONV_TRANSPOSE, ConvTransposeOptions

GEOMETRIES = {
    "plain": ConvTransposeOptions(),
    "padding": ConvTransposeOptions(padding=(2, 1)),
    "padding beyond the kernel": ConvTransposeOptions(padding=(1, 3)),
    "dilation": ConvTransposeOptions(padding=(1, 2), dilation=(2, 3)),
    "stride": ConvTransposeOptions(stride=(2, 1), output_padding=(1, 0)),
    "output padding": ConvTransposeOptions(output_padding=(1, 0), dilation=(2, 2)),
    "groups": ConvTransposeOptions(groups=2),
}


@pytest.mark.parametrize("options", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("bias", [True, False])
def test_the_transposed_convolution_is_torchs(options, bias):
    inputs = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    weights = torch.randn(3, 4, 3, 2, dtype=torch.float64)
    offset = torch.randn(3 * options.groups, dtype=torch.float64) if bias else None
    found = CONV_TRANSPOSE.affine(options, inputs, weights, offset)
    assert_close(found, F.conv_transpose2d(inputs, weights.transpose(0, 1), offset, *options), rtol=1e-12, atol=1e-12)
