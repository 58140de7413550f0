"""last_layer and adapters: a frozen network with few marginals."""

import io

import pytest
import torch
from helpers import sweep, three_classes
from network_cases import HAND, VISION, Recurrent, Transformer
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.convert.start import NOISE
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.attached import marginals


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def step(model, x):
    """Names of what a step of training changes."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = gbp.configure_optimizers(model.train(), num_data=2 * len(x), epochs=2)
    for _ in range(2):  # the factor A hears nothing while B is 0
        sweep(optimizer, model, gbp.Softmax(), x, torch.arange(len(x)) % 2)
    model.eval()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_the_last_layer_alone_is_gaussian_and_trained():
    make, inputs = HAND["hand-written"]
    plain, x = make().eval(), inputs()
    model = gbp.last_layer(plain)
    assert trained(model) == {"head.weight", "head.bias"} and list(marginals(model)) == ["head.weight"]
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert torch.equal(model(x), plain(x))
    assert step(model, x) == {"head.weight", "head.bias", "head.weight_marginal.precision"}  # no running statistics


def test_another_layer_can_be_named_and_options_given():
    model = gbp.last_layer(Recurrent(), "cell", as_prior=True, prior=gbp.Prior(variance=0.3))
    assert set(marginals(model)) == {"cell.weight_ih", "cell.weight_hh"}
    assert trained(model) == {f"cell.{kind}_{gate}" for kind in ("weight", "bias") for gate in ("ih", "hh")}
    own = marginals(model)["cell.weight_ih"]
    assert torch.equal(own.prior_mean, model.cell.weight_ih) and own.prior_precision.item() == pytest.approx(1 / 0.3)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert gbp.last_layer(network, inplace=True) is network and trained(network) == {"1.weight", "1.bias"}


def test_frozen_statistics_follow_the_data_again_once_they_are_free():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model, x = gbp.last_layer(network), torch.randn(20, 3)
    before = model[1].running_mean.clone()
    expected = model.eval()(x)
    assert torch.equal(model.train()(x), expected) and torch.equal(model[1].running_mean, before)
    model[1].requires_grad_(True)
    model.train()(x)
    assert not torch.equal(model[1].running_mean, before)


ADAPTED = HAND | {"VisionTransformer": VISION["VisionTransformer"]}


@pytest.mark.parametrize("name", ADAPTED)
def test_adapters_change_nothing_at_first_and_are_all_that_is_trained(name):
    make, inputs = ADAPTED[name]
    plain, x = make().eval(), inputs()
    model = gbp.adapters(plain, rank=2).eval()
    assert_close(model(x), plain(x), rtol=1e-5, atol=1e-6)
    factors = {f"{path}_marginal.precision" for path in trained(model)} | trained(model)
    assert all(path.endswith(("0.up", "0.down")) for path in trained(model))
    changed = step(model, x)
    assert changed <= factors and len(changed) > 0.8 * len(factors)
    merged = gbp.to_torch(model)
    assert set(merged.state_dict()) == set(plain.state_dict()) and not hasattr(merged, "parametrizations")
    assert_close(merged(x), model(x), rtol=1e-5, atol=1e-6)
    assert not torch.equal(merged(x), plain(x))


def test_attention_is_adapted_too_with_precisions_for_queries_keys_and_values():
    model = gbp.adapters(Transformer(), rank=2)
    assert {name.split(".parametrizations.")[1].split(".")[0] for name in marginals(model)} == {"weight", "in_proj_weight"}
    own = marginals(model)["encoder.layers.0.self_attn.parametrizations.in_proj_weight.0.up"]
    assert own.sharing.blocks == 3 and own.mean.shape == (24, 2)
    chosen = gbp.adapters(Transformer(), which=lambda module, name: name.endswith("in_proj_weight"))
    assert len(marginals(chosen)) == 4


def test_convolutions_are_adapted_if_asked_for():
    network = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))
    model, x = gbp.adapters(network, rank=3, which=lambda module, name: name.endswith("weight")), torch.randn(5, 2, 4, 4)
    assert [tuple(own.mean.shape) for own in marginals(model).values()] == [(3, 18), (6, 3), (3, 24), (3, 3)]
    step(model, x)
    assert_close(gbp.to_torch(model)(x), model(x), rtol=1e-5, atol=1e-6)


def test_the_start_of_the_factors_is_a_small_share_of_the_weights_energy():
    network = nn.Sequential(nn.Linear(200, 100))
    model = gbp.adapters(network, rank=8)
    total = torch.zeros(())
    for _ in range(20):
        total = total + (gbp.sample(model)[0].weight - network[0].weight).square().mean() / 20
    assert_close(total / network[0].weight.square().mean(), torch.tensor(NOISE), rtol=0.1, atol=0)


def test_a_small_weight_has_a_smaller_rank_and_all_else_can_be_unfrozen():
    network = nn.Sequential(nn.Linear(20, 10), nn.LayerNorm(10), nn.Linear(10, 2))
    model = gbp.adapters(network)
    assert [own.mean.shape[0] for own in marginals(model).values()] == [8, 10, 2, 2]
    model[1].requires_grad_(True)
    changed = step(model, torch.randn(6, 20))
    assert {"1.weight", "1.bias"} <= changed and "0.parametrizations.weight.original" not in changed


def test_adapters_are_saved_and_loaded():
    x = torch.randn(60, 3)
    network = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3))
    model = gbp.adapters(network, rank=2)
    step(model, x)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = gbp.adapters(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3)), rank=2)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(x), model(x))
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_adapters_learn_what_a_frozen_network_cannot():
    """Inputs that are turned, from a trained network; its own weights stay."""
    x, y = three_classes(300)
    network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    turned = x @ torch.tensor([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    model = gbp.adapters(network, rank=3)
    learner = gbp.configure_optimizers(model, 300, epochs=20)
    for _ in range(20):
        for batch in torch.randperm(300).split(30):
            sweep(learner, model, gbp.Softmax(), turned[batch], y[batch])
    before, after = ((one(turned).argmax(1) == y).float().mean().item() for one in (network, gbp.to_torch(model)))
    print(before, after)
    assert before < 0.9 and after > 0.97


BAD = {
    "no linear layer": (lambda: gbp.last_layer(nn.Conv2d(1, 2, 3)), "no nn.Linear.*name one of the network"),
    "a misspelling": (lambda: gbp.last_layer(Transformer(), "haed"), "'haed'.*embed, .*head"),
    "a layer without weights": (lambda: gbp.last_layer(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "1"), "'1' .ReLU"),
    "rank": (lambda: gbp.adapters(nn.Linear(2, 2), rank=0), "rank"),
    "nothing": (lambda: gbp.adapters(nn.Conv2d(1, 2, 3)), "no parameter that may be Gaussian"),
    "recurrent": (lambda: gbp.adapters(Recurrent(), which=lambda module, name: "lstm.weight" in name), "recurrent layer"),
    "one axis": (lambda: gbp.adapters(nn.Linear(2, 2), which=lambda module, name: True), "bias: a weight with one axis"),
    "twice": (lambda: gbp.adapters(gbp.adapters(nn.Linear(4, 4))), "no parameter"),
    "a marginal": (lambda: gbp.adapters(gbp.from_torch(nn.Linear(4, 4))), "weight: a weight with a marginal"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
