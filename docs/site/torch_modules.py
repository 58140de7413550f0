"""The table of docs/torch_modules.md: what becomes of every layer of torch, found out by trying it.

`python -m docs.site.torch_modules` writes the table anew.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import torch_gbp as gbp
from torch_gbp.convert.twins import moment_twin
from torch_gbp.errors import GBPError, InvalidInput
from torch_gbp.predictive.moments import moments

PAGE = Path(__file__).parent.parent / "torch_modules.md"
MARKS = "<!-- modules -->\n", "<!-- end modules -->\n"
_NO_LAYERS = "Container|Module|Sequential|ModuleDict|ModuleList|ParameterDict|ParameterList|RNNBase|RNNCellBase|Lazy.*|.*Loss2?d?"
_ROW, _IMAGE, _LINE, _VOLUME = (3, 8), (2, 4, 8, 8), (2, 4, 8), (2, 4, 8, 8, 8)


class Trial(NamedTuple):
    """What was found: Gaussian weights, the twin, and whether moments pass."""

    gaussian: str
    twin: str
    moments: str


def kinds() -> list[str]:
    """The names of all layers of torch.nn; losses, containers and lazy layers are none."""
    named = [(name, value) for name, value in vars(nn).items() if inspect.isclass(value) and issubclass(value, nn.Module)]
    layers = [name for name, value in named if value.__module__.startswith("torch.nn.modules")]
    return [name for name in sorted(layers) if not re.fullmatch(_NO_LAYERS, name)]


def _dimensions(name: str, *arguments: Any) -> list[tuple[str, tuple[Any, ...], Any]]:
    """The layers of one, two and three dimensions, with the same arguments."""
    return [(f"{name}{axes}d", arguments, shape) for axes, shape in ((1, _LINE), (2, _IMAGE), (3, _VOLUME))]


_POINTWISE = [
    *("Identity", "ReLU", "LeakyReLU", "PReLU", "RReLU", "ReLU6", "Hardtanh", "Hardsigmoid", "Sigmoid", "LogSigmoid", "Tanh"),
    *(
        "Tanhshrink",
        "SiLU",
        "Mish",
        "GELU",
        "SELU",
        "ELU",
        "CELU",
        "Softplus",
        "Hardswish",
        "Hardshrink",
        "Softshrink",
        "Softsign",
    ),
]
FAMILIES: dict[str, list[tuple[str, tuple[Any, ...], Any]]] = {  # layer, its arguments, and inputs: shapes, or tensors
    "linear": [("Linear", (8, 4), _ROW), ("Bilinear", (8, 8, 4), (_ROW, _ROW))],
    "convolution": [*_dimensions("Conv", 4, 4, 3), *_dimensions("ConvTranspose", 4, 4, 3)],
    "embedding": [("Embedding", (5, 4), torch.tensor([[0, 3]])), ("EmbeddingBag", (5, 4), torch.tensor([[0, 3]]))],
    "attention": [
        ("MultiheadAttention", (8, 2), ((2, 3, 8),) * 3),
        ("TransformerEncoderLayer", (8, 2, 16), (2, 3, 8)),
        ("TransformerDecoderLayer", (8, 2, 16), ((2, 3, 8),) * 2),
        ("TransformerEncoder", (nn.TransformerEncoderLayer(8, 2, 16), 1), (2, 3, 8)),
        ("TransformerDecoder", (nn.TransformerDecoderLayer(8, 2, 16), 1), ((2, 3, 8),) * 2),
        ("Transformer", (8, 2, 1, 1, 16), ((2, 3, 8),) * 2),
    ],
    "recurrence": [(name, (8, 4), (2, 3, 8)) for name in ("RNN", "LSTM", "GRU")]
    + [(name, (8, 4), _ROW) for name in ("RNNCell", "LSTMCell", "GRUCell")],
    "normalisation": [
        *_dimensions("BatchNorm", 4),
        ("SyncBatchNorm", (4,), _IMAGE),
        *_dimensions("InstanceNorm", 4),
        ("LayerNorm", (8,), _ROW),
        ("GroupNorm", (2, 4), _IMAGE),
        ("RMSNorm", (8,), _ROW),
        ("LocalResponseNorm", (2,), _IMAGE),
        ("CrossMapLRN2d", (2,), _IMAGE),
    ],
    "pooling": [
        *_dimensions("MaxPool", 2),
        *_dimensions("AvgPool", 2),
        *_dimensions("AdaptiveMaxPool", 2),
        *_dimensions("AdaptiveAvgPool", 2),
        *_dimensions("LPPool", 2, 2),
        *_dimensions("FractionalMaxPool", 2, 4)[1:],
        *[
            (f"MaxUnpool{d}d", (2,), (shape, torch.zeros(shape, dtype=torch.int64)))
            for d, shape in enumerate((_LINE, _IMAGE, _VOLUME), 1)
        ],
    ],
    "activation": [(name, (), _ROW) for name in _POINTWISE]
    + [
        ("Threshold", (0.1, 0.0), _ROW),
        ("GLU", (), _ROW),
        ("Softmax", (1,), _ROW),
        ("LogSoftmax", (1,), _ROW),
        ("Softmin", (1,), _ROW),
    ]
    + [("Softmax2d", (), _IMAGE)],
    "dropout": [("Dropout", (), _ROW), *_dimensions("Dropout"), ("AlphaDropout", (), _ROW), ("FeatureAlphaDropout", (), _IMAGE)],
    "shape": [
        ("Flatten", (), _IMAGE),
        ("Unflatten", (1, (2, 4)), _ROW),
        ("Upsample", (None, 2), _IMAGE),
        ("UpsamplingNearest2d", (None, 2), _IMAGE),
        ("UpsamplingBilinear2d", (None, 2), _IMAGE),
        ("PixelShuffle", (2,), _IMAGE),
        ("PixelUnshuffle", (2,), _IMAGE),
        ("ChannelShuffle", (2,), _IMAGE),
        ("Fold", ((4, 4), 2), (2, 4, 9)),
        ("Unfold", (2,), _IMAGE),
        *_dimensions("ZeroPad", 1),
        *[(f"ConstantPad{axes}d", (1, 0.5), shape) for axes, shape in ((1, _LINE), (2, _IMAGE), (3, _VOLUME))],
        *_dimensions("ReflectionPad", 1),
        *_dimensions("ReplicationPad", 1),
        *_dimensions("CircularPad", 1),
    ],
    "distance": [("CosineSimilarity", (), (_ROW, _ROW)), ("PairwiseDistance", (), (_ROW, _ROW))],
}


class Called(nn.Module):
    """A layer that is called with several inputs, by one of them."""

    def __init__(self, layer: nn.Module, rest: tuple[Any, ...]) -> None:
        super().__init__()
        self.layer, self.rest = layer, rest

    def forward(self, x: Any) -> Any:
        found = self.layer(x, *self.rest)
        return found[0] if isinstance(found, tuple) else found


def tried(name: str, arguments: tuple[Any, ...], given: Any) -> Trial:
    """Converts a layer both ways, and passes a belief through it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer, gaussian = converted(getattr(nn, name)(*arguments).eval())
        several = given if isinstance(given, tuple) and not isinstance(given[0], int) else (given,)
        first, *rest = (belief(value) for value in several)
        return Trial(", ".join(gaussian), twin(name, arguments), passes(Called(layer, tuple(rest)), first))


def converted(layer: nn.Module) -> tuple[nn.Module, list[str]]:
    """A layer with marginals, if there is a weight for them, and the weights that have one."""
    try:
        layer = gbp.from_torch(layer)
    except InvalidInput:
        return layer, []
    return layer, list(dict.fromkeys(path.rpartition(".")[2] for path in gbp.marginals(layer)))


def belief(given: Any) -> Any:
    """Inputs that are not known for certain; indices are."""
    if isinstance(given, torch.Tensor):
        return given
    return gbp.Gaussian(torch.randn(given, generator=torch.Generator().manual_seed(0)), torch.full(given, 0.1))


def twin(name: str, arguments: tuple[Any, ...]) -> str:
    """The layer that takes its place in a moment sweep."""
    try:
        found = moment_twin(nn.Sequential(getattr(nn, name)(*arguments)), False, False, None, {})
    except GBPError:
        return ""
    kind = type(found[0]).__name__  # type: ignore[index]
    return "itself" if kind == name else f"`{kind}`"


def passes(layer: nn.Module, x: Any) -> str:
    """Whether beliefs come out of a layer."""
    try:
        return "yes" if bool((moments(layer, x, "docs").variance > 0).any()) else "no"
    except (GBPError, NotImplementedError):
        return "no"


def rows() -> Iterator[str]:
    """Lines of the table: neighbours in a family of which the same is true share one."""
    yield "| | layers of torch | Gaussian weights (`from_torch`) | twin in a moment sweep | predicts by moments |"
    yield "|---|---|---|---|---|"
    for family, layers in FAMILIES.items():
        trials = [(name, tried(name, arguments, given)) for name, arguments, given in layers]
        for trial, group in groupby(sorted(trials, key=lambda one: order(one[1])), key=lambda one: one[1]):
            names = ", ".join(f"`{name}`" for name, _ in group)
            cells = [trial.gaussian and f"`{trial.gaussian}`", trial.twin, trial.moments]
            yield f"| {family} | {names} | {' | '.join(cell or '-' for cell in cells)} |"


def order(trial: Trial) -> tuple[bool, bool, str, str]:
    """What has a twin first, then what passes moments."""
    return not trial.twin, trial.moments == "no", trial.twin, trial.gaussian


def filled(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(MARKS[0])
    return before + MARKS[0] + "\n".join(rows()) + "\n" + MARKS[1] + rest.partition(MARKS[1])[2]


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
