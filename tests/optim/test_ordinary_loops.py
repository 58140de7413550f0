"""What loops and scripts of users do beside the textbook's: other ways to zero gradients, groups, thawing, copies, layouts."""

import copy
import gc
import pickle

import pytest
import torch
from helpers import mlp, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import AveragedSites, BatchSites, GBPLinear, MessagePassing, Prior, Softmax
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.attached import attach


def converted(fresh=True):
    return gbp.from_torch(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)), fresh=fresh)


def learn(optimizer, model, data, steps, start=0, zero=None):
    """So many steps by batches of 10, in turn; `zero` in place of the optimizer's zero_grad."""
    x, y = data
    for i in range(start, start + steps):
        part = slice(10 * (i % 6), 10 * (i % 6) + 10)
        (zero or optimizer.zero_grad)()
        Softmax()(model(x[part]), y[part]).backward()
        optimizer.step()


def learned(model):
    """Precisions above the prior's."""
    return [float((own.precision - own.floor).detach().mean()) for own in gbp.marginals(model).values()]


@pytest.mark.parametrize("make", [converted, mlp], ids=["means", "moments"])
@pytest.mark.parametrize("to_none", [True, False])
def test_the_networks_own_zero_grad_does_as_well(make, to_none):
    first = make()
    second, found = copy.deepcopy(first), []
    for model, own in ((first, False), (second, True)):
        torch.manual_seed(0)
        optimizer = gbp.configure_optimizers(model, 60, epochs=4)
        zero = (lambda model=model: model.zero_grad(set_to_none=to_none)) if own else None
        learn(optimizer, model, three_classes(), 24, zero=zero)
        found.append([own.precision.detach().clone() for own in gbp.marginals(model).values()])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("make", [converted, mlp], ids=["means", "moments"])
def test_a_forgotten_zero_grad_is_an_error(make):
    model = make()
    optimizer = gbp.configure_optimizers(model, 60)
    learn(optimizer, model, three_classes(), 1)
    with pytest.raises(InvalidInput, match="no zero_grad since the last step"):
        learn(optimizer, model, three_classes(), 1, zero=lambda: None)
    learn(optimizer, model, three_classes(), 2)


def test_zeros_left_by_zero_grad_are_no_precision_of_a_means_sweep():
    found = []
    for to_none in (True, False):
        torch.manual_seed(0)
        model = mlp()
        optimizer = gbp.configure_optimizers(model, 60, epochs=4)
        learn(optimizer, model, three_classes(), 3)
        with gbp.means_sweep():
            learn(optimizer, model, three_classes(), 6, zero=lambda o=optimizer, n=to_none: o.zero_grad(set_to_none=n))
        found.append(learned(model))
    assert found[0] == found[1]


def test_gradients_taken_away_after_the_sweep_are_no_message():
    model = converted()
    optimizer = gbp.configure_optimizers(model, 60)
    x, y = three_classes()
    Softmax()(model(x), y).backward()
    model.zero_grad()
    with pytest.raises(InvalidInput, match="found no message"):
        optimizer.step()


def test_a_pretrained_layer_that_thaws_keeps_what_it_learns():
    model = converted(fresh=False)
    model[0].weight.requires_grad_(False)
    optimizer = gbp.configure_optimizers(model, 60, epochs=8)
    learn(optimizer, model, three_classes(), 24)
    model[0].weight.requires_grad_(True)
    learn(optimizer, model, three_classes(), 23)
    before = learned(model)[0]
    learn(optimizer, model, three_classes(), 1)
    assert learned(model)[0] > 0.9 * before > 0


@pytest.mark.parametrize(
    "again", [lambda optimizer, model: optimizer.restart(), lambda optimizer, model: None], ids=["restart", "new"]
)
def test_what_another_run_had_not_annealed_away_is_not_taken_for_learnt(again):
    layers = [part for _ in range(6) for part in (GBPLinear(8, 8), gbp.GBPLeakyReLU(0.1))]
    model = nn.Sequential(GBPLinear(3, 8), gbp.GBPLeakyReLU(0.1), *layers, GBPLinear(8, 3))
    optimizer = MessagePassing(model.parameters(), 60, epochs=8)
    learn(optimizer, model, three_classes(), 12)
    if again == "restart":
        optimizer.restart()
    else:
        optimizer = MessagePassing(model.parameters(), 60, epochs=8)
    learn(optimizer, model, three_classes(), 47)
    before = learned(model)
    learn(optimizer, model, three_classes(), 1)
    assert all(after > 0.9 * own for after, own in zip(learned(model), before, strict=True))


def test_groups_keep_their_rates_and_may_join_later():
    model = mlp()
    first, last = list(model[0].parameters()), list(model[2].parameters())
    optimizer = MessagePassing([{"params": first, "lr": 0.05}, {"params": last}], 60)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, AveragedSites().default_rate(1.0)]
    optimizer = MessagePassing(first, 60)
    optimizer.add_param_group({"params": last})
    assert [group["lr"] for group in optimizer.param_groups] == [AveragedSites().default_rate(1.0)] * 2


def test_a_group_that_joins_later_is_annealed_too():
    layers = [GBPLinear(8, 8) for _ in range(8)]
    optimizer = MessagePassing([own for layer in layers[:-1] for own in layer.parameters()], 60)
    optimizer.add_param_group({"params": list(layers[-1].parameters())})
    assert layers[-1].weight.surplus > 0


def test_whose_the_rate_is_comes_back_with_the_state():
    x, y = torch.randn(60, 3), torch.randn(60, 1)
    rates = []
    for lr in (0.1, None):
        model = mlp(outputs=1)
        optimizer = MessagePassing(model.parameters(), 60, lr=lr)
        other = MessagePassing(model.parameters(), 60)
        other.load_state_dict(optimizer.state_dict())
        for own in (optimizer, other):
            own.zero_grad()
            gbp.Regression()(model(x[:10]), y[:10]).backward()
            rates.append(own._updates(10)[0].step.rate)
    assert rates[0] == rates[1] and rates[2] == rates[3]


def test_a_step_that_fails_leaves_all_scores_as_they_came():
    model, (x, y) = mlp(), three_classes()
    optimizer = MessagePassing(model.parameters(), 60)
    Softmax()(model(x), y).backward()
    before = model[0].weight.mean.grad.clone()
    model[2].weight.precision.requires_grad_(False)
    with pytest.raises(InvalidInput, match="mean and precision together"):
        optimizer.step()
    assert torch.equal(model[0].weight.mean.grad, before)


@pytest.mark.parametrize("moments", [False, True], ids=["means", "moments"])
def test_channels_last_learns_what_the_usual_layout_does(moments):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    x, y, found = torch.randn(12, 3, 4, 4), torch.arange(12) % 2, []
    torch.manual_seed(0)
    usual = gbp.from_torch(network, moments=moments)
    for model in (usual, copy.deepcopy(usual).to(memory_format=torch.channels_last)):
        torch.manual_seed(0)
        optimizer = gbp.configure_optimizers(model, 12)
        for _ in range(3):
            optimizer.zero_grad()
            Softmax()(model(x), y).backward()
            optimizer.step()
        found.append([own.mean.detach() for own in gbp.marginals(model).values()])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_second_optimizer_that_is_dropped_takes_no_probes_with_it():
    model = converted()
    optimizer = gbp.configure_optimizers(model, 60)
    learn(optimizer, model, three_classes(), 20)
    other = gbp.configure_optimizers(model, 60)
    assert not any(map(optimizer._prober.asks_for, optimizer.marginals))
    del other
    gc.collect()
    before = [value["curvature"].clone() for value in optimizer.state.values()]
    learn(optimizer, model, three_classes(), 9, start=20)
    for old, new in zip(before, (value["curvature"] for value in optimizer.state.values()), strict=True):
        assert not torch.equal(old, new)


def test_a_weight_that_is_frozen_on_the_way_stays_to_the_end():
    model = converted()
    optimizer = gbp.configure_optimizers(model, 60, epochs=16)
    learn(optimizer, model, three_classes(), 72)
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    learn(optimizer, model, three_classes(), 24)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
def test_an_optimizer_is_not_copied(copied):
    model = mlp()
    with pytest.raises(InvalidInput, match="neither copied nor pickled"):
        copied(MessagePassing(model.parameters(), 60))


def test_a_network_of_another_type_after_some_steps_is_told_before_anything_changes():
    model, (x, y) = converted(), three_classes()
    optimizer = gbp.configure_optimizers(model, 60)
    learn(optimizer, model, (x, y), 2)
    model.double()
    before = [own.precision.clone() for own in gbp.marginals(model).values()]
    with pytest.raises(InvalidInput, match="of another type"):
        learn(optimizer, model, (x.double(), y), 1)
    for own, kept in zip(gbp.marginals(model).values(), before, strict=True):
        assert torch.equal(own.precision, kept)


def test_the_state_of_another_plain_optimizer_is_refused_before_anything_changes():
    model = converted()
    theirs = gbp.configure_optimizers(model, 60, plain=lambda own: torch.optim.SGD(own, 0.1, momentum=0.9))
    learn(theirs, model, three_classes(), 2)
    ours = gbp.configure_optimizers(model, 60)
    with pytest.raises(InvalidInput, match="another optimizer"):
        ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["steps"] == 0
    other = gbp.configure_optimizers(gbp.from_torch(nn.Sequential(nn.Linear(3, 8, bias=False), nn.Linear(8, 3))), 60)
    with pytest.raises(InvalidInput):
        other.load_state_dict(ours.state_dict())


def test_schedulers_reach_plain_parameters_and_leave_a_users_own_optimizer_alone():
    model = converted()
    optimizer = gbp.configure_optimizers(model, 60, epochs=None)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = model[0].bias.clone()
    learn(optimizer, model, three_classes(), 3)
    assert torch.equal(model[0].bias, before)
    users = []
    optimizer = gbp.configure_optimizers(
        model, 60, epochs=None, plain=lambda own: users.append(torch.optim.SGD(own, 0.1)) or users[0]
    )
    users[0].param_groups[0]["lr"] = 0.025
    learn(optimizer, model, three_classes(), 1)
    assert users[0].param_groups[0]["lr"] == 0.025


@pytest.mark.parametrize("moments", [False, True], ids=["means", "moments"])
def test_learned_priors_stay_finite_where_inputs_are_always_zero(moments):
    x, y = three_classes()
    x = torch.cat([x, torch.zeros(60, 40)], 1)
    model = gbp.from_torch(nn.Sequential(nn.Linear(43, 8), nn.LeakyReLU(0.1), nn.Linear(8, 3)), fresh=True, moments=moments)
    optimizer = gbp.configure_optimizers(model, 60, epochs=30)
    for _ in range(30):
        learn(optimizer, model, (x, y), 6)
        optimizer.learn_priors()
    own = next(iter(gbp.marginals(model).values()))
    dead, alive = own.mean.detach()[:, 3:], own.mean.detach()[:, :3]
    assert dead.abs().max() < 3 * alive.abs().max()
    assert float(own.prior_precision) > 1e-3


@pytest.mark.parametrize("groups", [1, 2])
def test_the_trust_region_is_that_of_an_output_of_a_transposed_convolution(groups):
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups)
    own = attach(layer, "weight", Prior(0.05, 0.0))
    values = torch.arange(own.mean.numel(), dtype=torch.float32).view_as(own.mean)
    rows = own.by_output(values)
    assert rows.shape == (6, own.mean.numel() // 6)
    for output in range(6):  # weights that reach an output channel, by the gradient of its sum
        layer.zero_grad()
        layer(torch.ones(1, 4, 2, 2))[0, output].sum().backward()
        assert set(values[layer.weight.grad != 0].tolist()) == set(rows[output].tolist())
    back = own.of_outputs(torch.arange(6.0)).expand_as(values)
    assert torch.equal(own.by_output(back), torch.arange(6.0).view(6, 1).expand(6, rows.shape[1]))


def test_an_output_of_an_embedding_reads_one_row():
    assert attach(nn.Embedding(10, 4), "weight", Prior(0.05, 0.0)).inputs == 1


def test_a_marginal_on_a_single_number_learns():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.scale = nn.Linear(3, 3), nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.linear(x) * self.scale

    model = gbp.from_torch(Scaled(), which=lambda *_: True)
    optimizer = gbp.configure_optimizers(model, 60)
    learn(optimizer, model, three_classes(), 4)
    assert float(model.scale.detach()) != 1.0


def test_visits_without_zero_grad_in_between_are_told_too():
    model, (x, y) = mlp(prior=Prior(mean="start")), three_classes()
    optimizer = MessagePassing(model.parameters(), 60, store=BatchSites())
    for again in (False, True):
        with optimizer.visit(0, x, y):
            Softmax()(model(x), y).backward()
            if again:
                with pytest.raises(InvalidInput, match="no zero_grad"):
                    optimizer.step()
            else:
                optimizer.step()
