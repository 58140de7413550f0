"""Plain parameters beneath and between layers with marginals get the gradient of the loss, the marginals their messages."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.factors import leaky_relu, max_pool

pytestmark = pytest.mark.usefixtures("float64")
HEADS = {
    "linear": lambda: (gbp.GBPLinear(6, 3),),
    "full_precision": lambda: (gbp.GBPLinear(6, 3, covariance="diagonal"),),
    "deep": lambda: (gbp.GBPLinear(6, 5), gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(5, 4), gbp.GBPReLU(), gbp.GBPLinear(4, 3)),
    "ep": lambda: (gbp.GBPLinear(6, 5), gbp.GBPLeakyReLU(0.2, rule=leaky_relu.EP), gbp.GBPLinear(5, 3)),
    "gelu": lambda: (gbp.GBPLinear(6, 5), gbp.GBPActivation(nn.GELU()), gbp.GBPLinear(5, 3)),
    "sigmoid": lambda: (gbp.GBPLinear(6, 5), gbp.GBPSigmoid(), gbp.GBPLinear(5, 3)),
    "noisy": lambda: (gbp.GBPLinear(6, 5), gbp.GBPNoise(0.3, 2.0), gbp.GBPLinear(5, 3)),
    "activation_first": lambda: (gbp.GBPLeakyReLU(0.1), gbp.GBPLinear(6, 3)),
    "conv": lambda: (
        nn.Unflatten(1, (1, 2, 3)),
        gbp.GBPConv2d(1, 3, 2, padding=1),
        gbp.GBPMaxPool2d(2),
        gbp.GBPReLU(),
        gbp.GBPAdaptiveAvgPool2d(1),
        nn.Flatten(),
        gbp.GBPLinear(3, 3),
    ),
    "pool_ep": lambda: (
        nn.Unflatten(1, (1, 2, 3)),
        gbp.GBPConvTranspose2d(1, 2, 2),
        gbp.GBPMaxPool2d(2, rule=max_pool.EP),
        gbp.GBPUpsample(scale_factor=2),
        gbp.GBPAvgPool2d(2),
        nn.Flatten(),
        gbp.GBPLinear(4, 3),
    ),
}
LIKELIHOODS = {
    "softmax": (gbp.Softmax(), torch.arange(5) % 3),
    "smoothed": (gbp.Softmax(), torch.full((5, 3), 1 / 3)),
    "integrated": (gbp.IntegratedSoftmax(), torch.arange(5) % 3),
    "argmax": (gbp.Argmax(), torch.arange(5) % 3),
    "one_hot": (gbp.OneHotRegression(), torch.arange(5) % 3),
    "regression": (gbp.Regression(0.3, power=7.0), torch.linspace(-1, 1, 15).view(5, 3)),
}


def inputs(n=5):
    return torch.sin(torch.arange(1.0, 4 * n + 1)).view(n, 4)


def backbone():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 6))


def head(name):
    """A head whose marginals are uneven, and wide enough that variances matter."""
    torch.manual_seed(2)
    made = nn.Sequential(*HEADS[name]())
    for module in made.modules():
        if isinstance(module, gbp.weights.parameter.GaussianParameter):
            with torch.no_grad():
                module.precision.mul_(1 + torch.rand_like(module.precision))
                module.mean.add_(0.3 * torch.randn_like(module.mean))
                module.mark_written()
    return made


def differences(parameter, evaluate, step=1e-6):
    """Derivatives of a scalar by every entry of a parameter, by central differences."""
    found = torch.zeros_like(parameter)
    for k in range(parameter.numel()):
        ends = []
        for move in (step, -step):
            with torch.no_grad():
                value = parameter.view(-1)[k].clone()
                parameter.view(-1)[k] = value + move
                ends.append(evaluate())
                parameter.view(-1)[k] = value
        found.view(-1)[k] = (ends[0] - ends[1]) / (2 * step)
    return found


def check_gradients(body, network, likelihood, target):
    likelihood(network(inputs()), target).backward()

    def loss():
        with torch.no_grad():
            return -likelihood.log_evidence(network(inputs()), target).sum()

    for parameter in body.parameters():
        assert_close(parameter.grad, differences(parameter.data, loss), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_backbone_gets_the_gradient_of_the_loss(name):
    body = backbone()
    check_gradients(body, nn.Sequential(body, head(name)), gbp.Softmax(), torch.arange(5) % 3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_whatever_the_likelihood_and_its_power(name):
    body = backbone()
    check_gradients(body, nn.Sequential(body, head("deep")), *LIKELIHOODS[name])


class Wrapped(nn.Module):
    """A belief around the backbone's output, of a variance that is known."""

    def __init__(self, body, top):
        super().__init__()
        self.body, self.top = body, top

    def forward(self, x):
        z = self.body(x)
        return self.top(gbp.Gaussian(z, torch.full_like(z, 0.2).detach()))


class Between(nn.Module):
    """Plain parameters between layers that carry moments: a gain and a shift."""

    def __init__(self):
        super().__init__()
        self.lower, self.upper = gbp.GBPLinear(4, 6), head("deep")
        self.gain, self.shift = nn.Parameter(torch.rand(6) + 0.5), nn.Parameter(torch.randn(6))

    def forward(self, x):
        return self.upper(self.lower(x) * self.gain + self.shift)


def test_a_belief_around_a_plain_output():
    body = backbone()
    check_gradients(body, Wrapped(body, head("deep")), *LIKELIHOODS["softmax"])


@pytest.mark.parametrize("name", ["linear", "deep", "conv"])
def test_the_marginals_above_get_the_messages_that_they_get_without_a_backbone(name):
    body, likelihood, target = backbone(), gbp.Softmax(), torch.arange(5) % 3
    found = []
    for plain in (True, False):
        top = head(name)
        propagate = gbp.MessagePassing(top.parameters(), num_data=5)
        z = body(inputs())
        likelihood(top(z if plain else z.detach()), target).backward()
        found.append([message for _, message in propagate.messages()])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_steps_are_those_without_a_backbone():
    body, likelihood, target, states = backbone(), gbp.Softmax(), torch.arange(5) % 3, []
    for plain in (True, False):
        top = head("deep")
        propagate = gbp.MessagePassing(top.parameters(), num_data=5)
        for _ in range(3):
            propagate.zero_grad()
            z = body(inputs())
            likelihood(top(z if plain else z.detach()), target).backward()
            propagate.step()
        states.append(top.state_dict())
    assert_close(states[0], states[1], rtol=1e-10, atol=1e-12)


def test_later_sweeps_without_plain_tensors_are_sweeps_of_messages_again():
    body, top, likelihood, target = backbone(), head("deep"), gbp.Softmax(), torch.arange(5) % 3
    z = body(inputs()).detach()

    def gradients():
        top.zero_grad()
        likelihood(top(z), target).backward()
        return [parameter.grad.clone() for parameter in top.parameters()]

    before = gradients()
    likelihood(top(body(inputs())), target).backward()
    assert_close(gradients(), before, rtol=0, atol=0)


def test_a_backbone_and_a_head_learn_the_digits_together():
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    x, y = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(x))
    x, y = (x[order] / 8 - 1).float(), y[order]
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), gbp.GBPLinear(64, 10)).float()
    optimizer = gbp.configure_optimizers(network, num_data=1297, epochs=8)
    for _ in range(8):
        for batch in torch.randperm(1297).split(16):
            optimizer.zero_grad()
            gbp.Softmax()(network(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        predictive = gbp.Softmax().predictive(network(x[1297:]))
    assert (predictive.probs.argmax(1) == y[1297:]).float().mean() > 0.95
    assert -predictive.log_prob(y[1297:]).mean() < 0.16
