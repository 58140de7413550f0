"""The networks of `anynet`: plain torch modules as anybody would write them, with what the moment sweep has no rule for.

Convolutional networks and perceptrons start by He et al. 2015, transformers by torch's own start.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.networks import CIFAR_SHAPE, Shape
from lightning_modules.resnet import ResNet

HALF_SHAPE = (3, 16, 16)  # CIFAR-10 at half its size
EMBEDDED = 0.02  # standard deviation of embeddings and positions at the start
SYMBOLS = 128  # of a text: the bytes of ASCII


class FilterResponseNorm(nn.Module):
    """Filter response normalisation, gain x / sqrt(mean of x^2 over the pixels + epsilon) + shift; input (n, channels, h, w).

    Each image and channel by itself, so no batch, no running statistics, and the same in training and prediction.
    Source: Singh & Krishnan 2020.

    >>> norm = FilterResponseNorm(2)
    >>> round(norm(torch.full((1, 2, 3, 3), 5.0)).mean().item(), 4)
    1.0
    """

    def __init__(self, channels: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * (x.square().mean((2, 3), keepdim=True) + self.epsilon).rsqrt() + self.shift


class ViT(nn.Module):
    """Vision transformer: patches, learned positions, pre-norm blocks with GELU, the mean of the tokens; input (n, *in_shape).

    Args:
        in_shape, classes: of an image, and how many outputs.
        patch: side of a patch, in pixels.
        width, depth, heads: features of a token, blocks, heads of attention in each.

    Source: Dosovitskiy et al. 2021, with the mean of the tokens in place of a class token.

    >>> ViT()(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, in_shape: Shape = HALF_SHAPE, classes: int = 10, patch: int = 2, width: int = 64, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_shape[0], width, patch, patch)
        self.positions = nn.Parameter(EMBEDDED * torch.randn((in_shape[1] // patch) * (in_shape[2] // patch), width))
        self.blocks = nn.Sequential(*(_block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

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
        self.blocks = nn.ModuleList(_block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context), persistent=False)
        nn.init.normal_(self.embedding.weight, std=EMBEDDED)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        tokens = self.embedding(x) + self.positions[:length]
        for block in self.blocks:
            tokens = block(tokens, src_mask=self.mask[:length, :length], is_causal=True)
        return self.head(self.norm(tokens))


def resnet_frn() -> nn.Module:
    """ResNet-20 with filter response normalisation and SiLU, as the long Markov chains of Izmailov et al. 2021 had it."""
    return he_started(ResNet(CIFAR_SHAPE, norm=FilterResponseNorm, activation=nn.SiLU))


def he_started(network: nn.Module) -> nn.Module:
    """The network with weights drawn from N(0, 2 / fan-in) and biases of 0."""
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _block(width: int, heads: int) -> nn.Module:
    """A block of torch's transformer, which normalises first."""
    options = {"activation": "gelu", "batch_first": True, "norm_first": True}
    return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, **options)
