"""Attention: torch's own numbers at known inputs, and exact moments where the scores are known."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from moment_helpers import belief, beliefs_of, multilinear_moments, predict, sampled, shadowed, waves
from torch import nn
from torch.testing import assert_close

from torch_gbp import Gaussian
from torch_gbp.errors import MissingRule

pytestmark = pytest.mark.usefixtures("float64")
CAUSAL = torch.ones(3, 3, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False, False, True], [False, False, False]])
HIDDEN = torch.zeros(3).double().masked_fill(PADDING[0], -torch.inf)


def known(x):
    return Gaussian(x, torch.zeros_like(x))


ATTENTION = {
    "plain": {},
    "causal": {"is_causal": True},
    "truth values": {"attn_mask": ~CAUSAL},
    "numbers": {"attn_mask": waves(3, 3).double()},
    "scale": {"scale": 0.3},
}


@pytest.mark.parametrize("settings", ATTENTION.values(), ids=ATTENTION)
def test_attention_is_linear_in_the_values(settings):
    query, key, value = waves(2, 4, 3, 5), waves(2, 4, 3, 5, shift=1), belief(2, 4, 3, 2)
    exact = multilinear_moments(lambda v: F.scaled_dot_product_attention(query, key, v, **settings), value)
    assert_close(tuple(F.scaled_dot_product_attention(query, key, value, **settings)), tuple(exact))
    uncertain = F.scaled_dot_product_attention(Gaussian(query, query**2), Gaussian(key, key**2), value, **settings)
    assert_close(tuple(uncertain), tuple(exact))  # the scores' uncertainty is left out


def test_dropout_of_attention_weights_by_all_masks():
    query, key, value, p = waves(1, 1, 2), waves(1, 3, 2, shift=1), belief(1, 3, 2), 0.4
    weights = torch.softmax(query @ key.mT / 2**0.5, -1)
    mean = second = 0
    for mask in itertools.product((0.0, 1.0), repeat=3):
        chance = torch.tensor([1 - p if keep else p for keep in mask]).prod()
        own = weights * torch.tensor(mask) / (1 - p)
        output = own @ value.mean
        mean, second = mean + chance * output, second + chance * (output**2 + own**2 @ value.variance)
    found = F.scaled_dot_product_attention(query, key, value, dropout_p=p)
    assert_close(tuple(found), (mean, second - mean**2))


def test_dropout_of_multihead_attention_is_that_of_attention_in_training_alone():
    layer, x = nn.MultiheadAttention(4, 1, dropout=0.4, bias=False, batch_first=True).double(), waves(1, 3, 4)
    q, k, v = (known(part) for part in F.linear(x, layer.in_proj_weight).detach().chunk(3, -1))
    inner = F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)
    with torch.no_grad():
        assert_close(tuple(layer(*(known(x),) * 3)[0]), tuple(F.linear(inner, layer.out_proj.weight)))
        assert_close(layer.eval()(*(known(x),) * 3)[0].variance, torch.zeros(1, 3, 4))


HEADS = {
    "self": (nn.MultiheadAttention(6, 2), (3, 2, 6), {}),
    "batch first": (nn.MultiheadAttention(6, 3, batch_first=True), (2, 3, 6), {}),
    "no bias": (nn.MultiheadAttention(6, 2, bias=False, batch_first=True), (2, 3, 6), {}),
    "no weights": (nn.MultiheadAttention(6, 2, batch_first=True), (2, 3, 6), {"need_weights": False}),
    "weights of each head": (nn.MultiheadAttention(6, 2, batch_first=True), (2, 3, 6), {"average_attn_weights": False}),
    "no batch": (nn.MultiheadAttention(6, 2), (3, 6), {}),
    "mask": (nn.MultiheadAttention(6, 2, batch_first=True), (2, 3, 6), {"attn_mask": CAUSAL}),
    "mask of each head": (nn.MultiheadAttention(6, 2, batch_first=True), (2, 3, 6), {"attn_mask": waves(4, 3, 3).double()}),
    "mask of no batch": (nn.MultiheadAttention(6, 2), (3, 6), {"attn_mask": waves(2, 3, 3).double(), "key_padding_mask": HIDDEN}),
    "causal": (
        nn.MultiheadAttention(6, 2, batch_first=True),
        (2, 3, 6),
        {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
    ),
    "padding": (nn.MultiheadAttention(6, 2, batch_first=True), (2, 3, 6), {"key_padding_mask": PADDING}),
    "both masks": (nn.MultiheadAttention(6, 2, batch_first=True), (2, 3, 6), {"attn_mask": CAUSAL, "key_padding_mask": PADDING}),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("layer", "shape", "settings"), HEADS.values(), ids=HEADS)
def test_multihead_attention_at_known_inputs_and_weights_is_torchs(layer, shape, settings, training):
    layer, x = layer.double().train(training), waves(*shape)
    output, weights = layer(x, x, x, **settings)
    found, found_weights = layer(*(known(x),) * 3, **settings)
    assert_close(tuple(found), (output, torch.zeros_like(output)))
    assert_close(found_weights, weights)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_multihead_attention_of_other_keys_and_values_with_gaussian_weights(training):
    """Values, value and output projections uncertain: linear in each, the scores known."""
    layer = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True).double().train(training)
    query, key, value = waves(1, 2, 4), waves(1, 3, 3, shift=1), belief(1, 3, 5)
    own = {"v_proj_weight": belief(4, 5, shift=3), "out_proj.weight": belief(4, 4, shift=4), "out_proj.bias": belief(4, shift=5)}

    def output(v, *weights):
        return torch.func.functional_call(layer, dict(zip(own, weights, strict=True)), (query, key, v))[0]

    with shadowed(layer, own):
        found, _ = layer(query, key, value)
    by_samples_of_signs = exact_by_layers(layer, own, query, key, value)
    assert_close(found.mean, output(value.mean, *(each.mean for each in own.values())))
    assert_close(tuple(found), tuple(by_samples_of_signs))


def exact_by_layers(layer, own, query, key, value):
    """Each step's exact moments from those of the step before, entries taken as independent."""
    bias = layer.in_proj_bias.detach()[8:]
    projected = multilinear_moments(lambda v, w: F.linear(v, w, bias), value, own["v_proj_weight"])
    q = F.linear(query, layer.q_proj_weight, layer.in_proj_bias[:4]).view(1, 2, 2, 2).transpose(1, 2)
    k = F.linear(key, layer.k_proj_weight, layer.in_proj_bias[4:8]).view(1, 3, 2, 2).transpose(1, 2)

    def attend(v):
        heads = torch.softmax(q @ k.mT / 2**0.5, -1) @ v.view(1, 3, 2, 2).transpose(1, 2)
        return heads.transpose(1, 2).flatten(2)

    return multilinear_moments(F.linear, multilinear_moments(attend, projected), own["out_proj.weight"], own["out_proj.bias"])


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    "settings", [{}, {"norm_first": True, "activation": "gelu"}, {"bias": False}], ids=["post", "pre", "no bias"]
)
def test_encoder_layers_with_weights_of_variance_0_are_torchs(settings, training):
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, **settings).double().train(training)
    x = waves(2, 3, 8)
    for inputs in ((x,), (x, CAUSAL), (x, None, PADDING)):
        with torch.no_grad():
            expected = layer(*inputs)
        found = predict(layer, 0.0, *inputs)
        keep = slice(None) if len(inputs) < 3 else ~PADDING  # the fast path leaves zeros at padded places
        assert_close(found.mean[keep], expected[keep])
        assert_close(found.variance, torch.zeros_like(found.variance))


@pytest.mark.parametrize("only", ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "norm2.weight"])
def test_one_gaussian_parameter_keeps_torch_off_its_fused_layer(only):
    layer, x = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).double().eval(), waves(2, 3, 8)
    own = beliefs_of(layer, 0.01, least_axes=0)[only]
    with torch.no_grad(), shadowed(layer, {only: own}):
        found = layer(x)
    assert isinstance(found, Gaussian)
    assert found.variance.mean() > 0
    assert (found.mean - layer(x)).std() < 0.3


def test_an_encoder_of_several_layers_predicts_near_samples():
    torch.manual_seed(3)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double().eval()
    x = torch.randn(3, 5, 16)
    found, samples = predict(model, 1e-3, x), sampled(model, 1e-3, x, samples=300)
    assert (found.mean - samples.mean).abs().mean() < 0.1 * samples.standard_deviation.mean() + 0.05
    assert 0.5 < found.variance.mean() / samples.variance.mean() < 1.5


def test_dropout_of_an_encoder_layer_in_training_is_integrated_over():
    layer, x = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.2, batch_first=True).double(), waves(2, 3, 8)
    assert (predict(layer, 0.0, x).variance > 0).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: nn.MultiheadAttention(4, 2, add_bias_kv=True).double()(x, x, x),
        lambda x: nn.MultiheadAttention(4, 2, add_zero_attn=True).double()(x, x, x),
        lambda x: F.scaled_dot_product_attention(x, x, x, enable_gqa=True),
        lambda x: F.softmax(x, -1),
    ],
    ids=["bias_k", "zeros", "gqa", "softmax"],
)
def test_what_attention_does_not_cover_is_refused(call):
    with pytest.raises(MissingRule, match="has no m"):
        call(belief(3, 2, 4))
