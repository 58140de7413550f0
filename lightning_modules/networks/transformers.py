"""Small transformers of torch's own layers: for images and for characters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.networks.sizes import CIFAR_SHAPE, Shape, images, sizes_of

SYMBOLS = 128  # of a text: the bytes of ASCII
EMBEDDED = 0.02  # standard deviation of embeddings and positions at the start


class ViT(nn.Module):
    """Vision transformer: patches, learned positions, pre-norm blocks with GELU, the mean of the tokens; input (n, *in_shape).

    Args:
        in_shape, classes: of an image, and how many outputs; None: (3, 32, 32) and 10.
        patch: side of a patch, in pixels.
        width, depth, heads: features of a token, blocks, heads of attention in each.

    Source: Dosovitskiy et al. 2021, with the mean of the tokens in place of a class token.

    >>> ViT()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_shape: Shape | None = None,
        classes: int | None = None,
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        shape, outputs = sizes_of(in_shape, classes, CIFAR_SHAPE)
        channels, height, across = images(shape, "ViT")
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.positions = nn.Parameter(EMBEDDED * torch.randn((height // patch) * (across // patch), width))
        self.blocks = nn.Sequential(*(encoder_layer(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class CharacterModel(nn.Module):
    """Causal transformer over characters; input (n, t) of integers, output (n, t, symbols): the logits of each next character.

    Args:
        symbols: different characters.
        context: the most characters of an input.
        width, depth, heads: as in `ViT`.

    >>> CharacterModel()(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 128])
    """

    mask: Tensor

    def __init__(self, symbols: int = SYMBOLS, context: int = 64, width: int = 64, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.positions = nn.Parameter(EMBEDDED * torch.randn(context, width))
        self.blocks = nn.ModuleList(encoder_layer(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context), persistent=False)
        nn.init.normal_(self.embedding.weight, std=EMBEDDED)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        tokens = self.embedding(x) + self.positions[:length]
        for block in self.blocks:
            tokens = block(tokens, src_mask=self.mask[:length, :length], is_causal=True)
        return self.head(self.norm(tokens))


def encoder_layer(width: int, heads: int) -> nn.Module:
    """A layer of torch's transformer encoder that normalises first, with GELU and without dropout."""
    options = {"activation": "gelu", "batch_first": True, "norm_first": True}
    return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, **options)
