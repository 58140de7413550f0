"""Running means of drawn and linearised networks, against networks whose statistics were made anew."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.predictive.known import Network
from torch_gbp.predictive.samples import draw
from torch_gbp.weights.attached import marginals

WHICH = {"weights": lambda module, name: isinstance(module, (nn.Linear, nn.Conv2d)), "all": lambda module, name: True}
CLASSES, PRECISION, DRAWN = 3, 400.0, 150


def network(affine=True, which="weights", seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4, affine=affine), nn.SiLU(), nn.Flatten(), nn.Linear(64, CLASSES)]
    model = nn.Sequential(*layers).double()
    nn.init.uniform_(model[1].weight, 0.5, 2.0) if affine else None
    return gbp.from_torch(model, which=WHICH[which]).eval()


def data():
    return 1 + torch.randn(40, 2, 4, 4).double()


def only_the_first_is_random(model):
    """What is before a normalisation at once, so that its mean input is exact."""
    for name, own in marginals(model).items():
        own.precision.fill_(PRECISION if name.startswith(("0.", "1.")) else 1e16)


def with_own_statistics(model, drawn, x):
    """The network at drawn weights, running means from the data, running variances as they were."""
    other, variance = copy.deepcopy(model), model[1].running_var.clone()
    with torch.no_grad():
        for name, value in drawn.items():
            other.get_parameter(name).copy_(value)
    gbp.renew_statistics(other, [x])
    other[1].running_var.copy_(variance)
    return other


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("vectorise", [True, False])
def test_drawn_networks_have_running_means_of_their_own(affine, which, vectorise):
    x, model = data(), network(affine, which)
    gbp.renew_statistics(model, [x])
    only_the_first_is_random(model)
    generator = torch.Generator().manual_seed(3)
    found = gbp.predict(model, gbp.Softmax(), x[:5], how="samples", samples=4, generator=generator, vectorise=vectorise).outputs
    generator, scattered = torch.Generator().manual_seed(3), Network(model, "a test").scattered
    for outputs in found:
        drawn = draw(scattered, generator)
        assert_close(outputs, with_own_statistics(model, drawn, x)(x[:5]).detach())
    kept = network(affine, which)
    kept.load_state_dict({name: value for name, value in model.state_dict().items() if not name.endswith("mean_input")})
    generator = torch.Generator().manual_seed(3)
    assert (
        gbp.predict(kept, gbp.Softmax(), x[:5], how="samples", samples=4, generator=generator).outputs - found
    ).abs().max() > 0.1


@pytest.mark.parametrize("vectorise", [None, False])
def test_derivatives_go_through_the_running_means(vectorise):
    x, model = data(), network()
    gbp.renew_statistics(model, [x])
    only_the_first_is_random(model)
    found = gbp.predict(model, gbp.Softmax(), x[:3], how="linear", vectorise=vectorise)
    slopes, step = [], 1e-5
    weight = model[0].weight.detach()
    for place in range(weight.numel()):
        aside = torch.zeros(weight.numel()).double()
        aside[place] = step
        ends = [
            with_own_statistics(model, {"0.weight": weight + sign * aside.view_as(weight)}, x)(x[:3]).detach() for sign in (1, -1)
        ]
        slopes.append((ends[0] - ends[1]) / (2 * step))
    jacobian = torch.stack(slopes, -1)
    covariance = torch.einsum("nkw,nlw->nkl", jacobian, jacobian) / PRECISION
    assert_close(found.covariance, covariance, rtol=1e-6, atol=1e-9)  # the bias moves nothing any more


def test_nothing_changes_at_the_means_and_without_statistics_told():
    x, model = data(), network()
    before = gbp.predict(model, gbp.Softmax(), x, how="samples").outputs
    assert_close(gbp.predict(model, gbp.Softmax(), x, how="samples").outputs, before, rtol=0, atol=0)
    gbp.renew_statistics(model, [x])
    assert_close(gbp.predict(model, gbp.Softmax(), x, how="linear").belief.mean, model(x).detach())
    state = copy.deepcopy(model.state_dict())
    gbp.predict(model, gbp.Softmax(), x, how="linear")
    assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_a_deep_network_is_nearer_to_statistics_made_anew():
    """What the layers before change in a layer's inputs, and running variances, are left out."""
    blocks = [part for _ in range(4) for part in (nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())]
    model = gbp.from_torch(nn.Sequential(*blocks, nn.Linear(16, CLASSES)).double()).eval()
    x = torch.randn(500, 16).double()
    gbp.renew_statistics(model, [x])
    for own in marginals(model).values():
        own.precision.fill_(1e4)
    kept = copy.deepcopy(model)
    for own in marginals(kept).values():
        own.mean_input = None
    variance = torch.stack([statistics_made_anew(model, x, seed) for seed in range(DRAWN)]).var(0).mean()
    found, without = (
        gbp.predict(own, gbp.Softmax(), x, how="samples", samples=DRAWN).outputs.var(0).mean() for own in (model, kept)
    )
    assert without / variance > 1.2
    assert abs(found / variance - 1) < 0.5 * (without / variance - 1)


def statistics_made_anew(model, x, seed):
    """Outputs of a drawn network with running statistics of its own."""
    drawn = gbp.sample(model, torch.Generator().manual_seed(seed))
    gbp.renew_statistics(drawn, [x])
    return drawn.eval()(x).detach()
