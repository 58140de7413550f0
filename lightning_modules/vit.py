"""A vision transformer for small images, of torch's own layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.networks import CIFAR_SHAPE, Shape

EMBEDDED = 0.02  # standard deviation of embeddings and positions at the start


class ViT(nn.Module):
    """Vision transformer: patches, learned positions, pre-norm blocks with GELU, the mean of the tokens; input (n, *in_shape).

    Args:
        in_shape, classes: of an image, and how many outputs.
        patch: side of a patch, in pixels.
        width, depth, heads: features of a token, blocks, heads of attention in each.

    Source: Dosovitskiy et al. 2021, with the mean of the tokens in place of a class token.

    >>> ViT()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, in_shape: Shape = CIFAR_SHAPE, classes: int = 10, patch: int = 4, width: int = 64, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_shape[0], width, patch, patch)
        self.positions = nn.Parameter(EMBEDDED * torch.randn((in_shape[1] // patch) * (in_shape[2] // patch), width))
        self.blocks = nn.Sequential(*(encoder_layer(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def encoder_layer(width: int, heads: int) -> nn.Module:
    """A layer of torch's transformer encoder that normalises first, with GELU and without dropout."""
    options = {"activation": "gelu", "batch_first": True, "norm_first": True}
    return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, **options)
