"""Iterations that run away: the error tells when, where, and with which damping to try again."""

import pytest
import torch
from torch import nn

import torch_gbp as gbp
from torch_gbp import AllAtOnce, FactorGraph, GBPNoise
from torch_gbp.errors import Diverged

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def graph():
    """Fifty equal examples of a wide prior and hardly any noise, which overshoot further with every iteration."""
    layer = gbp.GBPLinear(20, 1, prior=gbp.Prior(variance=100.0), covariance="diagonal")
    model, y = nn.Sequential(layer, GBPNoise(1e-3)), torch.randn(50, 1)
    return FactorGraph(model, torch.ones(50, 20), gbp.Regression(1e-6), y, approximation="linearised")


def test_diverging_energy_names_iteration_layer_and_damping(graph):
    with pytest.raises(Diverged, match=r"diverged in iteration \d+, most of it in layer .*use damping 0.5"):
        graph.infer(2000)


def test_damping_that_left_the_first_messages_undamped_is_named_first(graph):
    told = r"Way out: damp the first messages too, damping=Damping\(0\.2\), else use damping 0\.6"
    with pytest.raises(Diverged, match=told):
        graph.infer(2000, 0.2, schedule=AllAtOnce())


def test_divergence_is_found_though_only_the_last_iteration_is_looked_at(graph):
    with pytest.raises(Diverged, match="diverged in iteration 8,"):
        graph.infer(8, check=8)
