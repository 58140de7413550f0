"""summary: what is Gaussian, plain, frozen, and what excludes the moment sweep."""

import pytest
import torch
from helpers import lenet
from network_cases import Recurrent, Tied, Transformer
from torch import nn

import torch_gbp as gbp
from torch_gbp.convert.maps import FUNCTIONS
from torch_gbp.errors import InvalidInput, MissingRule


def test_the_report_of_a_small_network_in_full():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Threshold(0.1, 0.0), nn.Flatten(), nn.Linear(8, 3, bias=False)
    )
    network[0].bias.requires_grad_(False)
    torch.nn.init.constant_(network[4].weight, 0.5)
    model = gbp.from_torch(network, which=lambda module, name: name == "4.weight", prior=gbp.Prior(variance=0.25), as_prior=True)
    assert str(gbp.summary(model)) == "\n".join(
        (
            "Gaussian: 1 tensors, 24 weights, 8 precisions",
            "  4.weight  Linear  3 x 8  8 precisions, one for 3 weights; prior variance 0.25 about the given weights, starts at "
            "variance 0.00025",
            "plain, trained: 3 tensors, 22 numbers",
            "  0.weight  Conv2d  2 x 1 x 3 x 3",
            "  1.weight  BatchNorm2d  2",
            "  1.bias  BatchNorm2d  2",
            "plain, frozen: 1 tensors, 2 numbers",
            "  0.bias  Conv2d  2",
            "no moment map, so no prediction by moments: 1 layers",
            "  2  Threshold",
            "running statistics: 1 layers",
            "  1  BatchNorm2d",
        )
    )


def test_totals_and_blocks():
    found = gbp.summary(gbp.from_torch(Transformer(), fresh=True))
    rows = {row.name: row for row in found.gaussian}
    attention = rows["encoder.layers.0.self_attn.in_proj_weight"]
    assert (attention.module, attention.shape, attention.shared_by, attention.precisions) == (
        "MultiheadAttention",
        (24, 8),
        8,
        24,
    )
    assert found.weights == sum(3 * 64 + 64 + 2 * 128 for _ in range(2)) + 48 + 24
    assert found.precisions == sum(24 + 8 + 8 + 16 for _ in range(2)) + 6 + 8
    assert {"token", "positions"} <= {row.name for row in found.plain} and not found.frozen
    assert not found.without_moments
    assert rows["head.weight"].start_variance == pytest.approx(rows["head.weight"].prior_variance)


def test_recurrent_and_tied_weights():
    found = gbp.summary(gbp.from_torch(Recurrent()))
    rows = {row.name: row for row in found.gaussian}
    assert found.without_moments == {"lstm": "LSTM", "cell": "GRUCell"}
    assert (rows["lstm.weight_ih_l0"].shared_by, rows["lstm.weight_ih_l0"].precisions) == (5, 24)
    assert (rows["embed.weight"].shared_by, rows["embed.weight"].precisions) == (6, 11)
    (row,) = gbp.summary(gbp.from_torch(Tied())).gaussian
    assert (row.name, row.others, row.shared_by) == ("embed.weight", ("head.weight",), 1)
    (row,) = gbp.summary(Tied()).plain
    assert row.others == ("head.weight",) and "also head.weight" in str(row)


def test_networks_of_gbp_layers_plain_ones_and_frozen_ones():
    found = gbp.summary(lenet())
    assert [row.name for row in found.gaussian] == ["0.weight", "0.bias", "4.weight", "4.bias"]
    assert not found.plain and not found.frozen and not found.without_moments and "moment maps: every layer" in str(found)
    assert [row.shared_by for row in found.gaussian] == [27, 1, 3, 1]
    plain = gbp.summary(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert not plain.gaussian and len(plain.plain) == 4 and plain.statistics == ("1  BatchNorm1d",)
    frozen = gbp.summary(gbp.last_layer(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))))
    assert len(frozen.frozen) == 4 and not frozen.statistics
    adapted = gbp.summary(gbp.adapters(nn.Linear(4, 4), rank=2))
    assert [row.module for row in adapted.gaussian] == ["LowRank"] * 2
    assert [row.name for row in adapted.frozen] == ["bias", "parametrizations.weight.original"]


def test_what_a_step_takes_away_of_the_start_shows():
    model, x = gbp.from_torch(nn.Linear(4, 3)), torch.randn(6, 4)
    optimizer = gbp.configure_optimizers(model, 6, epochs=1)
    gbp.Softmax()(model(x), torch.arange(6) % 3).backward()
    optimizer.step()
    (row,) = gbp.summary(model).gaussian
    assert row.start_variance == row.prior_variance


def test_a_frozen_marginal_is_marked():
    model = gbp.from_torch(nn.Linear(4, 3)).requires_grad_(False)
    assert "; frozen" in str(gbp.summary(model).gaussian[0])


def test_bad_input_is_named():
    with pytest.raises(InvalidInput, match="of type Module"):
        gbp.summary({"weight": torch.ones(3)})


LAYERS = {
    nn.Linear: (nn.Linear(4, 2), (3, 4)),
    nn.Bilinear: (nn.Bilinear(4, 4, 2), (3, 4)),
    nn.Embedding: (nn.Embedding(5, 4), None),
    nn.EmbeddingBag: (nn.EmbeddingBag(5, 4), None),
    nn.MultiheadAttention: (nn.MultiheadAttention(4, 2), (3, 2, 4)),
    nn.LayerNorm: (nn.LayerNorm(4), (3, 4)),
    nn.GroupNorm: (nn.GroupNorm(2, 4), (3, 4)),
    nn.RMSNorm: (nn.RMSNorm(4), (3, 4)),
    nn.Upsample: (nn.Upsample(scale_factor=2), (3, 4, 2, 2)),
    nn.PixelShuffle: (nn.PixelShuffle(2), (3, 4, 2, 2)),
    nn.PixelUnshuffle: (nn.PixelUnshuffle(2), (3, 4, 2, 2)),
    nn.Unflatten: (nn.Unflatten(1, (2, 2)), (3, 4)),
    nn.Softmax: (nn.Softmax(1), (3, 4)),
    nn.LogSoftmax: (nn.LogSoftmax(1), (3, 4)),
}


@pytest.mark.parametrize("kind", FUNCTIONS, ids=lambda kind: kind.__name__)
def test_a_layer_has_moments_as_the_report_says(kind):
    """Whether the layer takes a belief, or has a belief among its weights, is tried."""
    axes = next((int(digit) for digit in kind.__name__ if digit in "123"), 0)
    sizes = {0: (), 1: (4,), 2: (4, 4), 3: (4, 4, 4)}[axes]
    made = {"Conv": lambda: kind(4, 2, 2), "BatchNorm": lambda: kind(4), "InstanceNorm": lambda: kind(4), "Max": lambda: kind(2),
            "Avg": lambda: kind(2), "Adaptive": lambda: kind(1), "Dropout": lambda: kind()}  # fmt: skip
    fits = next((make for name, make in made.items() if kind.__name__.startswith(name)), kind)
    layer, shape = LAYERS.get(kind) or (fits(), (3, 4, *sizes))
    layer.eval()
    belief = None if shape is None else gbp.Gaussian(torch.randn(shape), torch.rand(shape))
    inputs = {nn.MultiheadAttention: 3, nn.Bilinear: 2}.get(kind, 1)
    try:
        with torch.no_grad():
            if belief is None:
                layer.__dict__["weight"] = gbp.Gaussian(layer.weight, torch.ones_like(layer.weight))
                layer(torch.tensor([[0, 1]]))
            else:
                layer(*(belief,) * inputs)
        works = True
    except (MissingRule, TypeError):
        works = False
    assert bool(gbp.summary(layer).without_moments) != works
