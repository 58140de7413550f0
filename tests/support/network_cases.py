"""Networks as people write them, each with inputs, for the tests of conversion; three classes, small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 3


class HandWritten(nn.Module):
    """Functions in place of layers, a skip by concatenation, a mean over positions, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(8, CLASSES)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.stem(x))
        h = torch.cat([h, F.silu(self.norm(self.inner(h))) * self.scale], 1)
        return self.head(h.mean((2, 3)))


class Recurrent(nn.Module):
    """Classifier of sequences of tokens: embedding, LSTM of two layers, GRU cell, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(11, 6), nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.cell, self.head = nn.GRUCell(10, 4), nn.Linear(4, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        steps, _ = self.lstm(self.embed(tokens))
        state = steps.new_zeros(len(tokens), 4)
        for step in steps.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


class Transformer(nn.Module):
    """Classifier by attention over a token, with positions."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.embed, self.encoder = nn.Linear(6, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.token, self.positions = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.randn(1, 6, 8) * 0.02)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1) + self.positions
        return self.head(self.encoder(tokens)[:, 0])


class Tied(nn.Module):
    """A language model whose embedding is the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(CLASSES, 5), nn.Linear(5, CLASSES, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens).mean(1))


def _vision(name: str, **options: Any) -> nn.Module:
    models: Any = pytest.importorskip("torchvision").models
    return getattr(models, name)(num_classes=CLASSES, **options)


def _vgg() -> nn.Module:
    """With a thin classifier in place of 120 million weights."""
    with torch.device("meta"):
        network = _vision("vgg11_bn", init_weights=False)
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512 * 49, 8), nn.ReLU(True), nn.Linear(8, CLASSES))
    network.to_empty(device="cpu")
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]
    return network


def _thin(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A class of torchvision at a small width."""

    def make() -> nn.Module:
        models: Any = pytest.importorskip("torchvision").models
        return getattr(models, name)(num_classes=CLASSES, **options)

    return make


def images(n: int = 4, side: int = 32) -> Tensor:
    return torch.randn(n, 3, side, side)


def _convnext() -> nn.Module:
    models: Any = pytest.importorskip("torchvision").models
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(16, 32, 1), block(32, None, 2)], num_classes=CLASSES)


def _awake(network: nn.Module) -> nn.Module:
    """A transformer whose head is not 0, as torchvision makes it, which lets nothing through."""
    nn.init.normal_(network.heads.head.weight, 0, 0.1)  # type: ignore[union-attr, arg-type]
    return network


_SMALL_VIT = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
_SWIN = _thin("SwinTransformer", patch_size=[4, 4], embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=[4, 4])

HAND: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "hand-written": (HandWritten, images),
    "recurrent": (Recurrent, lambda: torch.randint(11, (4, 6))),
    "transformer": (Transformer, lambda: torch.randn(4, 5, 6)),
    "tied": (Tied, lambda: torch.randint(CLASSES, (4, 6))),
}
VISION: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "resnet18": (lambda: _vision("resnet18"), images),
    "mobilenet_v2": (lambda: _vision("mobilenet_v2"), images),
    "vgg11_bn": (_vgg, images),
    "densenet121": (lambda: _vision("densenet121"), images),
    "efficientnet_b0": (lambda: _vision("efficientnet_b0"), images),
    "ConvNeXt": (_convnext, images),
    "VisionTransformer": (lambda: _awake(_thin("VisionTransformer", **_SMALL_VIT)()), images),
    "SwinTransformer": (_SWIN, images),
}
FULL = {  # as torchvision has them
    "vgg11_bn": (lambda: _vision("vgg11_bn"), images),
    "convnext_tiny": (lambda: _vision("convnext_tiny"), images),
    "vit_b_16": (lambda: _awake(_vision("vit_b_16", image_size=32)), images),
    "swin_t": (lambda: _vision("swin_t"), images),
}
