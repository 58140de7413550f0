"""Heads that grow: the old outputs answer as before, the new ones know nothing yet."""

from __future__ import annotations

import pytest
import torch
from helpers import changed, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.errors import InvalidInput
from torch_gbp.predictive import outputs_of


def trained(model, advanced):
    torch.manual_seed(0)
    x, y = three_classes()
    optimizer = gbp.configure_optimizers(model, len(x), epochs=1)
    for rows in torch.arange(len(x)).split(10):
        sweep(optimizer, model, gbp.Softmax(), x[rows], y[rows])
    if advanced:
        gbp.advance(model, optimizer, plain="learn")
    return model, x


def converted(**options):
    network = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))
    return gbp.from_torch(network, fresh=True, **{"which": lambda module, name: True, **options})


MAKE = {
    "shared": mlp, "diagonal": lambda: mlp(covariance="diagonal"), "without biases": lambda: gbp.GBPLinear(3, 3, bias=False),
    "prior at the start": lambda: mlp(prior=gbp.Prior(mean="start")), "converted": converted,
    "plain biases": lambda: converted(which=None),
}  # fmt: skip


@pytest.mark.parametrize("advanced", [True, False], ids=["after a task", "within a task"])
@pytest.mark.parametrize("name", MAKE)
def test_old_outputs_keep_their_marginals_and_priors_and_new_ones_are_at_their_prior(name, advanced):
    model, x = trained(MAKE[name](), advanced)
    before, outputs = gbp.marginals(model), outputs_of(model, x, "test", "moments", 1).belief
    wide = gbp.widen_head(model, 5)
    for path, own in gbp.marginals(wide).items():
        old = before[path]
        rows = len(old.mean)
        assert torch.equal(own.mean[:rows], old.mean)
        assert_close(own.belief().variance[:rows], old.without_surplus().reciprocal().expand_as(old.mean))
        assert_close(own.floor.expand_as(own.mean)[:rows], old.floor.expand_as(old.mean))
        assert torch.equal(own.centre.expand_as(own.mean)[:rows], old.centre.expand_as(old.mean))
        assert_close(own.belief().variance[rows:], torch.full_like(own.mean[rows:], own.prior.width))
    found = outputs_of(wide, x, "test", "moments", 1).belief
    assert found.shape == (len(x), 5)
    assert_close(found.mean[:, :3], outputs.mean)
    if advanced:
        assert_close(found.variance[:, :3], outputs.variance)


@pytest.mark.parametrize("make", [mlp, converted])
def test_a_wider_head_learns_its_new_classes_and_can_be_saved(make):
    model, x = trained(make(), advanced=True)
    gbp.widen_head(model, 4)
    y = torch.full((20,), 3)
    before = gbp.predict(model, gbp.Softmax(), x[:20] + 4, how="means").probs[:, 3].mean()
    optimizer = gbp.configure_optimizers(model, 20, epochs=4, store=gbp.AveragedSites(tail=0.0))
    for _ in range(4):
        for rows in torch.arange(20).split(5):
            sweep(optimizer, model, gbp.Softmax(), x[rows] + 4, y[rows])
    assert gbp.predict(model, gbp.Softmax(), x[:20] + 4, how="means").probs[:, 3].mean() > before + 0.05
    gbp.advance(model, optimizer, plain="learn")
    again = make()
    gbp.widen_head(again, 4).load_state_dict(model.state_dict())
    assert not changed(marginals(model), again)


def test_another_layer_than_the_last_can_be_named():
    model = nn.ModuleDict({"head": gbp.GBPLinear(4, 2), "other": gbp.GBPLinear(4, 3)})
    assert gbp.widen_head(model, 6, "head")["head"].out_features == 6 and model["other"].out_features == 3


def test_what_cannot_grow_is_refused_before_anything_changes():
    model = mlp()
    before = marginals(model)
    bad = [
        ((model, 3), "at least 4"), ((model, 2.5), "outputs"), ((model, 5, "1"), "no linear layer"), ((model, 5, "7"), "'7'"),
        ((nn.Sequential(nn.Linear(2, 2)), 3), "no linear layer"), ((nn.Tanh(), 3), "no linear layer"), ((4, 3), "model"),
    ]  # fmt: skip
    for arguments, what in bad:
        with pytest.raises(InvalidInput, match=what):
            gbp.widen_head(*arguments)
    assert not changed(before, model)


def test_no_surplus_of_precision_stays_in_a_head_that_grows():
    """An optimizer has begun, and given the biases a start narrower than their prior."""
    model = mlp()
    gbp.MessagePassing(model.parameters(), num_data=10)
    assert model[2].bias.surplus > 0
    gbp.widen_head(model, 5)
    assert_close(model[2].bias.belief().variance, torch.full((5,), 0.5))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_what_was_frozen_stays_frozen(frozen):
    layer = gbp.GBPLinear(3, 2)
    getattr(layer, frozen).requires_grad_(False)
    wide = gbp.widen_head(layer, 4)
    assert {name: getattr(wide, name).mean.requires_grad for name in ("weight", "bias")} == {
        name: name != frozen for name in ("weight", "bias")
    }
