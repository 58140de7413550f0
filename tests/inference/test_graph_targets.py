"""What a factor graph takes as targets, and iterated inference of layers that are frozen in part."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import FactorGraph, Latent
from torch_gbp.errors import InvalidInput


def network(outputs=4):
    return nn.Sequential(gbp.GBPLinear(3, outputs, prior=gbp.Prior(1.0)), gbp.GBPNoise(0.1))


def test_a_mask_of_examples_observes_all_outputs_of_each():
    mask = torch.tensor([True, False, False, False])
    graph = FactorGraph(network(), torch.randn(4, 3), target=torch.randn(4, 4), observed=mask)
    graph.infer(20, 0.5)
    assert torch.equal(graph.output_belief().variance == 0, mask[:, None].expand(4, 4))


def test_a_mask_of_outputs_and_unknown_targets_that_are_nan():
    target, mask = torch.randn(4, 4), torch.rand(4, 4) > 0.5
    graph = FactorGraph(network(), torch.randn(4, 3), target=torch.where(mask, target, torch.nan), observed=mask)
    graph.infer(20, 0.5)
    mean, variance = graph.output_belief()
    assert torch.equal(variance == 0, mask) and torch.equal(mean[mask], target[mask]) and bool(mean.isfinite().all())


@pytest.mark.parametrize(
    ("target", "mask", "text"),
    [
        (torch.randn(4), None, "the targets are the outputs themselves"),
        (torch.randn(1, 4), None, "the targets are the outputs themselves"),
        (torch.randn(4, 4).double(), None, "float64"),
        ([[0.0] * 4] * 4, None, "the targets are the outputs themselves"),
        (torch.full((4, 4), torch.nan), None, "NaN or Inf"),
        (torch.randn(4, 4), torch.ones(4), "must be a mask"),
        (torch.randn(4, 4), [True] * 4, "must be a mask"),
        (torch.randn(4, 4), torch.ones(3).bool(), "of the outputs' shape"),
    ],
)
def test_other_targets_and_masks_are_refused(target, mask, text):
    with pytest.raises(InvalidInput, match=text):
        FactorGraph(network(), torch.randn(4, 3), target=target, observed=mask)


@pytest.mark.parametrize("likelihood", [torch.randn(5, 1), gbp.Softmax], ids=["targets", "a_class"])
def test_what_is_no_likelihood_is_refused(likelihood):
    with pytest.raises(InvalidInput, match="likelihood must be a likelihood"):
        FactorGraph(network(1), torch.randn(5, 3), likelihood)


def test_a_mask_of_another_type_is_refused_with_a_likelihood_too():
    with pytest.raises(InvalidInput, match="must be a mask"):
        FactorGraph(network(), torch.randn(4, 3), gbp.Softmax(), torch.arange(4), observed=torch.ones(4))


def test_an_input_that_is_known_everywhere_has_no_energy():
    x, net = torch.full((1, 3), 10.0), network(1)
    asked = gbp.Regression(1.0), torch.zeros(1, 1)
    latent = FactorGraph(net, Latent(x, None, torch.ones_like(x).bool()), *asked, learn=False).infer(5)
    assert_close(latent.energies[-1], FactorGraph(net, x, *asked, learn=False).infer(5).energies[-1])


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("store", [gbp.Filtering, gbp.AveragedSites])
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_frozen_weights_and_biases_stay_and_the_others_learn(covariance, store, frozen):
    net = nn.Sequential(gbp.GBPLinear(6, 3, prior=gbp.Prior(0.5), covariance=covariance), gbp.GBPNoise(0.05))
    optimizer = gbp.MessagePassing(net.parameters(), num_data=40, store=store(), epochs=None)
    getattr(net[0], frozen).requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inference = gbp.Inference(7, damping=0.65, schedule=gbp.LayerSweeps(), approximation="linearised")
    inference(net, gbp.SquaredSoftmax(), optimizer, torch.randn(40, 6), torch.randint(0, 3, (40,)))
    learns = {"weight": "bias", "bias": "weight"}[frozen]
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f"0.{learns}.mean", f"0.{learns}.precision"}


@pytest.mark.parametrize("target", [torch.full((40,), 3), torch.full((40,), -1), torch.zeros(30).long()])
def test_wrong_labels_are_refused_by_name_where_messages_settle(target):
    net = nn.Sequential(gbp.GBPLinear(6, 3, covariance="diagonal"), gbp.GBPNoise(0.05))
    optimizer = gbp.MessagePassing(net.parameters(), num_data=40, store=gbp.Filtering(), epochs=None)
    inference = gbp.Inference(30, damping=0.65, schedule=gbp.LayerSweeps(), approximation="linearised")
    with pytest.raises(InvalidInput):
        inference(net, gbp.SquaredSoftmax(), optimizer, torch.randn(40, 6), target)


def test_passes_are_counted_from_1():
    with pytest.raises(InvalidInput, match="count passes from 1"):
        gbp.Inference(iterations=(1, 5, 50)).sweeps(0)


def test_an_empty_batch_is_refused_example_by_example():
    net = gbp.GBPLinear(6, 3)
    optimizer = gbp.MessagePassing(net.parameters(), num_data=40, store=gbp.Filtering(), epochs=None)
    inference = gbp.Inference(2, schedule=gbp.ExampleByExample())
    with pytest.raises(InvalidInput, match="skip empty batches"):
        inference(net, gbp.Softmax(power=1), optimizer, torch.zeros(0, 6), torch.zeros(0).long())
