"""from_torch: which parameters become Gaussian, their priors and starts, and what is refused."""

import copy

import pytest
import torch
from helpers import sweep, three_classes
from network_cases import Recurrent, Tied, Transformer
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.convert import is_weight
from torch_gbp.convert.start import NOISE, fans
from torch_gbp.errors import InvalidInput
from torch_gbp.weights import variances
from torch_gbp.weights.attached import ParameterMarginal, marginals, plain_parameters
from torch_gbp.weights.sharing import Sharing

EXPECTED = {
    Transformer: {
        "embed.weight",
        "head.weight",
        *(f"encoder.layers.{i}.{name}" for i in (0, 1) for name in ("self_attn.in_proj_weight", "self_attn.out_proj.weight")),
        *(f"encoder.layers.{i}.{name}.weight" for i in (0, 1) for name in ("linear1", "linear2")),
    },
    Recurrent: {
        "embed.weight",
        "head.weight",
        "cell.weight_ih",
        "cell.weight_hh",
        *(f"lstm.weight_{kind}_l{i}{way}" for kind in ("ih", "hh") for i in (0, 1) for way in ("", "_reverse")),
    },
    Tied: {"embed.weight"},
}


@pytest.mark.parametrize("make", EXPECTED, ids=lambda make: make.__name__)
def test_weights_of_layers_are_gaussian_and_nothing_else(make):
    made = gbp.from_torch(make())
    assert set(marginals(made)) == EXPECTED[make]


def test_attention_with_other_keys_and_projected_recurrences_have_their_weights_too():
    attention = gbp.from_torch(nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True))
    assert set(marginals(attention)) == {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"}
    recurrent = gbp.from_torch(nn.LSTM(3, 4, proj_size=2))
    assert set(marginals(recurrent)) == {"weight_ih_l0", "weight_hh_l0", "weight_hr_l0"}


def test_a_filter_by_module_and_name_chooses():
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    seen = []
    made = gbp.from_torch(
        network, which=lambda module, name: seen.append((module, name)) or name in ("2.weight", "1.weight", "2.bias")
    )
    assert set(marginals(made)) == {"1.weight", "2.weight", "2.bias"}
    assert (network[0], "0.bias") in seen  # the user's own modules, not the copy's
    assert [name for name, _ in plain_parameters(made)] == ["0.weight", "0.bias", "1.bias"]


def test_frozen_parameters_stay_frozen_and_plain():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    network[0].requires_grad_(False)
    network[2].bias.requires_grad_(False)
    made, (x, y) = gbp.from_torch(network, fresh=True), three_classes()
    assert list(marginals(made)) == ["2.weight"] and torch.equal(made[2].bias, network[2].bias)
    assert torch.equal(made[0].weight, network[0].weight) and torch.equal(made[0].bias, network[0].bias)
    sweep(gbp.configure_optimizers(made, 60), made, gbp.Softmax(), x, y)
    assert torch.equal(made[0].weight, network[0].weight) and not made[0].weight.requires_grad


def test_tied_parameters_have_one_marginal_with_a_precision_for_each_weight():
    made = gbp.from_torch(Tied())
    assert made.head.weight is made.embed.weight
    assert [name for name, _ in made.named_modules() if name.endswith("_marginal")] == ["embed.weight_marginal"]
    own = marginals(made)["embed.weight"]
    assert isinstance(own, ParameterMarginal) and own.sharing == Sharing() and own.precision.shape == (3, 5)
    same = nn.Linear(4, 4)
    made = gbp.from_torch(nn.Sequential(same, nn.ReLU(), same))
    assert made[0] is made[2] and list(marginals(made)) == ["0.weight"] and made[0].weight_marginal.precision.shape == (1, 4)


def test_in_place_it_is_the_same_network_and_else_a_copy():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weight = network[0].weight
    assert gbp.from_torch(network) is not network and not marginals(network)
    assert gbp.from_torch(network, inplace=True) is network
    assert marginals(network)["0.weight"].mean is weight


def test_what_has_marginals_keeps_them():
    first = gbp.from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), which=lambda _, name: name == "0.weight")
    (x, y), optimizer = three_classes(), gbp.configure_optimizers(first, 60)
    sweep(optimizer, first, gbp.Softmax(), x, y)
    second = gbp.from_torch(first)
    assert set(marginals(second)) == {"0.weight", "2.weight"}
    assert torch.equal(marginals(second)["0.weight"].precision, marginals(first)["0.weight"].precision)
    assert set(marginals(gbp.from_torch(second))) == {"0.weight", "2.weight"}
    mixed = gbp.from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), gbp.GBPLinear(4, 3)))
    assert set(marginals(mixed)) == {"0.weight", "2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("layer", "name", "summed"),
    [
        (nn.Linear(12, 5), "weight", (12, 5)),
        (nn.Conv1d(4, 6, 3, groups=2), "weight", (6, 6)),
        (nn.Conv3d(2, 3, 2), "weight", (16, 16)),
        (nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), groups=2), "weight", (8, 8)),
        (nn.Embedding(9, 4), "weight", (1, 1)),
        (nn.MultiheadAttention(6, 2), "in_proj_weight", (6, 6)),
        (nn.LSTM(3, 5), "weight_ih_l0", (3, 5)),
        (nn.LSTM(3, 5), "weight_hh_l0", (5, 5)),
        (nn.GRUCell(3, 5), "weight_ih", (3, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_the_prior_follows_fan_in_and_fan_out(layer, name, summed):
    """As the GBP layers' own; a gate of a recurrent layer and a projection of attention are outputs of their own."""
    assert fans(layer, name, getattr(layer, name)) == summed
    made = marginals(gbp.from_torch(layer, prior=gbp.Prior(scale=0.3, variance=variances.fan_in_scaled)))[name]
    expected = 0.3 * variances.fan_in_scaled(summed[0], min(1, summed[1] / summed[0]))
    assert_close(made.prior_precision.item(), 1 / expected, rtol=1e-6, atol=0)
    made = marginals(gbp.from_torch(layer, prior=gbp.Prior(variance=0.7)))[name]
    assert_close(made.prior_precision.item(), 1 / 0.7, rtol=1e-6, atol=0)
    for twin in (gbp.GBPLinear, gbp.GBPConvTranspose2d):
        if type(layer).__name__ == twin.__name__[3:]:
            assert_close(twin.from_torch(layer).weight.prior_precision, marginals(gbp.from_torch(layer))[name].prior_precision)


def test_precisions_are_shared_unless_told_otherwise():
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    shared, full = gbp.from_torch(network), gbp.from_torch(network, covariance="diagonal")
    assert [tuple(own.precision.shape) for own in marginals(shared).values()] == [(1, 2, 1, 1), (1, 12)]
    assert [own.precision.shape for own in marginals(full).values()] == [network[0].weight.shape, network[2].weight.shape]


def test_given_weights_start_with_a_small_share_of_their_energy_and_fresh_ones_with_the_prior():
    network = nn.Sequential(nn.Linear(300, 40), nn.ReLU(), nn.Linear(40, 3))
    nn.init.zeros_(network[2].weight)
    kept = gbp.from_torch(network)
    first, last = marginals(kept).values()
    assert torch.equal(kept[0].weight, network[0].weight) and torch.equal(kept[0].bias, network[0].bias)
    assert_close(first.belief().variance, NOISE * network[0].weight.square().mean().expand(40, 300), rtol=1e-5, atol=0)
    assert_close(last.belief().variance, torch.full((3, 40), NOISE * last.prior.variance), rtol=1e-5, atol=0)
    torch.manual_seed(1)
    anew = gbp.from_torch(network, fresh=True)
    assert_close(anew[0].weight.std().item(), (2 / 300) ** 0.5, rtol=0.05, atol=0)
    assert not anew[0].bias.any() and not anew[2].bias.any() and anew[2].weight.any()
    for own in marginals(anew).values():
        assert own.fresh() and not own.surplus and torch.equal(own.precision, own.prior_precision.expand_as(own.precision))


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("parts", ["layer", "bias"])
def test_frozen_layers_stay_frozen_and_known_where_moments_are_carried(fresh, parts):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(4 * 36, 3))
    frozen = network[0] if parts == "layer" else network[0].bias
    frozen.requires_grad_(False)
    twin, x, y = gbp.from_torch(network, fresh=fresh, moments=True), torch.randn(20, 1, 8, 8), torch.arange(20) % 3
    held = [twin[0].weight, twin[0].bias] if parts == "layer" else [twin[0].bias]
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    assert [p.requires_grad for own in held for p in own.parameters()] == [False] * 2 * len(held)
    assert all(p.requires_grad for own in twin[3].children() for p in own.parameters())
    assert torch.equal(twin[0].bias.mean, network[0].bias)
    if parts == "layer":
        features = twin[0](x)
        assert_close(features.mean, network[0](x), atol=1e-5, rtol=1e-5)
        assert features.variance.sqrt().max() < 1e-2 * features.mean.std()
    optimizer = gbp.MessagePassing(twin.parameters(), 20, epochs=3)
    for _ in range(3):
        optimizer.zero_grad()
        gbp.Softmax()(twin(x), y).backward()
        optimizer.step()
    changed = {name for name, value in twin.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == ({"3"} if parts == "layer" else {"0", "3"})
    assert not any(name.startswith("0.bias") for name in changed)


def test_inputs_cannot_shape_a_frozen_first_layer():
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    for moments in (True, False):
        with pytest.raises(InvalidInput, match=r"made anew.*frozen"):
            gbp.from_torch(network, fresh=True, inputs=torch.randn(20, 3), moments=moments)


def test_a_fresh_start_draws_plain_parts_as_torch_does_and_keeps_frozen_statistics():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Bilinear(4, 4, 2))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    network[1].running_mean.fill_(5.0), network[2].running_mean.fill_(5.0)
    network[2].requires_grad_(False)
    made = gbp.from_torch(network, fresh=True)
    assert torch.equal(made[1].weight, torch.ones(4)) and not made[1].running_mean.any()
    assert torch.equal(made[2].weight, torch.full((4,), 7.0)) and made[2].running_mean.tolist() == [5.0] * 4
    assert 0 < made[3].weight.abs().max() <= 0.5  # torch's own, 1 / sqrt(4)


@pytest.mark.parametrize("part", [nn.LayerNorm(4), nn.MultiheadAttention(4, 2), nn.LSTM(4, 4), nn.Embedding(3, 4)], ids=repr)
def test_transformers_and_recurrent_networks_keep_the_start_that_they_were_built_with(part):
    network = nn.ModuleList([nn.Linear(4, 4), part])
    made = gbp.from_torch(network, fresh=True)
    assert_close(dict(made.named_parameters()), dict(network.named_parameters()), rtol=0, atol=0)
    assert all(own.fresh() and not own.surplus for own in marginals(made).values())


def test_as_prior_the_weights_are_the_prior_mean():
    network = nn.Linear(4, 3)
    made = gbp.from_torch(network, as_prior=True)
    own = marginals(made)["weight"]
    assert torch.equal(own.prior_mean, network.weight) and torch.equal(made.weight, network.weight)
    assert own.surplus > 0 and own.fresh()


def test_the_surplus_is_annealed_away():
    """After half of the passes a marginal has the precision of prior and messages, as one that began at the prior."""
    (x, y), plain = three_classes(), nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    made = gbp.from_torch(plain)
    optimizer = gbp.configure_optimizers(made, 60, epochs=4)
    starts = {name: own.surplus for name, own in marginals(made).items()}
    for own in marginals(made).values():
        assert_close(own.belief().variance.mean(), NOISE * own.mean.detach().square().mean(), rtol=1e-4, atol=0)
    for done in range(1, 4):
        for _ in range(2):
            sweep(optimizer, made, gbp.Softmax(), x[:30], y[:30])
        for name, own in marginals(made).items():
            left = max(0.0, 1 - done / 4 / 0.5)
            factor = 1 + starts[name] / float(own.prior_precision)
            assert_close(own.surplus, (factor**left - 1) * float(own.prior_precision), rtol=1e-3, atol=1e-6)


def test_a_frozen_marginal_keeps_the_variance_of_its_start():
    (x, y), plain = three_classes(), nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    made = gbp.from_torch(plain)
    made[0].requires_grad_(False)
    before = {name: value.clone() for name, value in made[0].state_dict().items()}
    optimizer = gbp.configure_optimizers(made, 60, epochs=2)
    for _ in range(4):
        sweep(optimizer, made, gbp.Softmax(), x[:30], y[:30])
    assert_close(made[0].state_dict(), before, rtol=0, atol=0)
    assert marginals(made)["0.weight"].surplus > 0 == marginals(made)["2.weight"].surplus


def test_a_loaded_start_is_known_as_one_that_nobody_has_learnt():
    plain = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    state = gbp.from_torch(plain).state_dict()
    again = gbp.from_torch(copy.deepcopy(plain), fresh=True)
    again.load_state_dict(state)
    for name, own in marginals(again).items():
        assert_close(own.precision, state[f"{name}_marginal.precision"], rtol=1e-6, atol=0)
        assert own.fresh() and own.surplus > 0


def test_a_prior_that_follows_the_inputs():
    x = torch.randn(50, 2) @ torch.randn(2, 12)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False), nn.ReLU(), nn.Linear(5, 3))
    made = gbp.from_torch(network, fresh=True, inputs=x)
    assert isinstance(made[1][0], gbp.InputBasis) and made[1][1].weight.shape == (5, 2) and made[1][1].bias is None
    assert set(marginals(made)) == {"1.1.weight", "3.weight"} and made(x).shape == (50, 3)
    assert isinstance(network[1], nn.Linear)
    with pytest.raises(InvalidInput, match="needs a fresh start"):
        gbp.from_torch(network, inputs=x)


BAD = {
    "nothing": (
        lambda: gbp.from_torch(nn.Sequential(nn.LayerNorm(3), nn.PReLU())),
        r"may be Gaussian.*0\.weight \(LayerNorm, 3\)",
    ),
    "all frozen": (lambda: gbp.from_torch(nn.Linear(3, 2).requires_grad_(False)), r"weight \(Linear, 2 x 3, frozen\)"),
    "no parameters": (lambda: gbp.from_torch(nn.ReLU()), "Got: no parameters"),
    "filter of none": (lambda: gbp.from_torch(nn.Linear(3, 2), which=lambda *_: False), "may be Gaussian"),
    "no filter": (lambda: gbp.from_torch(nn.Linear(3, 2), which="all"), "which must be a function"),
    "lazy": (lambda: gbp.from_torch(nn.Sequential(nn.LazyLinear(3), nn.LazyConv2d(3, 3))), "lazy.*0.weight, 0.bias, 1.weight"),
    "half tied": (
        lambda: gbp.from_torch(Tied(), which=lambda module, _: isinstance(module, nn.Embedding)),
        "embed.weight Gaussian, head.weight plain",
    ),
    "complex": (lambda: gbp.from_torch(nn.Linear(3, 2, dtype=torch.complex64)), "real numbers.*complex64"),
    "moments' option": (
        lambda: gbp.from_torch(nn.Linear(3, 2), prior=gbp.Prior(mean="start")),
        "no random start.*from_torch.*as_prior=True",
    ),
    "prior": (lambda: gbp.from_torch(nn.Linear(3, 2), prior=0.5), "prior must be a Prior.*from_torch"),
    "kind": (lambda: gbp.from_torch(nn.Linear(3, 2), covariance="yes"), "covariance must be.*from_torch"),
    "both": (lambda: gbp.from_torch(nn.Linear(3, 2), fresh=True, as_prior=True), "contradict"),
    "moments in place": (lambda: gbp.from_torch(nn.Linear(3, 2), moments=True, inplace=True), "contradict"),
    "no network": (lambda: gbp.from_torch({"weight": torch.ones(3)}), "network must be of type Module"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


def test_nothing_changes_before_an_error():
    network = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(3))
    with pytest.raises(InvalidInput):
        gbp.from_torch(network, inplace=True)
    assert not list(network[0].children())


def test_the_default_filter_takes_layers_by_kind_not_by_shape():
    assert not is_weight(nn.Bilinear(2, 3, 4), "weight") and not is_weight(
        nn.MultiheadAttention(4, 2, add_bias_kv=True), "bias_k"
    )
    assert is_weight(nn.ConvTranspose1d(2, 3, 4), "a.b.weight") and is_weight(nn.EmbeddingBag(3, 4), "weight")
