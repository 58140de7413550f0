"""The networks of `anynet`: plain torch modules as anybody would write them, with what the moment sweep has no rule for.

Convolutional networks and perceptrons start by He et al. 2015, transformers by torch's own start.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.networks import CIFAR_SHAPE
from lightning_modules.resnet import FilterResponseNorm, ResNet
from lightning_modules.vit import EMBEDDED, encoder_layer

HALF_SHAPE = (3, 16, 16)  # CIFAR-10 at half its size
SYMBOLS = 128  # of a text: the bytes of ASCII


class CharacterModel(nn.Module):
    """Causal transformer over characters; input (n, t) of integers, output (n, t, symbols): the logits of each next character.

    Args:
        symbols: different characters.
        context: the most characters of an input.
        width, depth, heads: as in `lightning_modules.ViT`.

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
