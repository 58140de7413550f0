"""What the pair of gradients is: derivatives of the evidence at an observed input, the variational message behind it."""

import itertools

import pytest
import torch
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp import GBPLinear, IntegratedSoftmax, OneHotRegression, Regression, Softmax

pytestmark = pytest.mark.usefixtures("float64")
LIKELIHOODS = {
    "regression": Regression(0.3),
    "one-hot": OneHotRegression(0.2, power=1),
    "softmax": Softmax(power=1),
    "integrated softmax": IntegratedSoftmax(power=1),
}
SMOOTHED = ["regression", "one-hot", "integrated softmax"]  # evidence E[p(y | z)]; that of `Softmax` is an approximation of it


def waves(*shape, scale=1.0, shift=0.0):
    """Numbers that look random, the same with every version of torch."""
    count = torch.Size(shape).numel()
    return scale * torch.sin(7.3 * torch.arange(1, count + 1) + shift).reshape(shape)


def layer(inputs, outputs, shift, variance=0.4):
    """A layer with means and variances from `waves`, a precision for every weight."""
    made = GBPLinear(inputs, outputs, prior=gbp.Prior(variance=variance, bias=variance), covariance="diagonal")
    with torch.no_grad():
        made.weight.mean.copy_(waves(outputs, inputs, scale=0.6, shift=shift))
        made.bias.mean.copy_(waves(outputs, scale=0.3, shift=shift + 1))
        for own in (made.weight, made.bias):
            own.precision.mul_(1.5 + waves(*own.mean.shape, scale=0.5, shift=shift + 2))
            own.mark_written()
    return made


def target(name):
    return waves(5, 3, shift=4.0) if name == "regression" else torch.arange(5) % 3


def log_evidence(model, likelihood, x, y):
    with torch.no_grad():
        return likelihood.log_evidence(model(x), y).sum()


def along_every_entry(tensor, evaluate, step):
    """A scalar at the tensor with `step` taken from and added to every entry, in turns: two tensors of its shape."""
    found = torch.zeros(2, *tensor.shape)
    with torch.no_grad():
        for index in itertools.product(*map(range, tensor.shape)):
            value = tensor[index].clone()
            for end, move in enumerate((-step, step)):
                tensor[index] = value + move
                found[end][index] = evaluate()
            tensor[index] = value
    return found


def differences(tensor, evaluate, step=1e-5):
    """First derivative of a scalar by every entry of a tensor, by central differences."""
    low, high = along_every_entry(tensor, evaluate, step)
    return (high - low) / (2 * step)


def second_differences(tensor, evaluate, step=1e-3):
    """Second derivative likewise."""
    low, high = along_every_entry(tensor, evaluate, step)
    return (high - 2 * evaluate() + low) / step**2


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_behind_an_observed_input_the_mean_gradient_is_the_derivative_of_the_log_evidence(name):
    model, likelihood, x, y = layer(4, 3, 0.0), LIKELIHOODS[name], waves(5, 4, shift=2.0), target(name)
    likelihood(model(x), y).backward()
    for own in (model.weight, model.bias):
        want = differences(own.mean.data, lambda: log_evidence(model, likelihood, x, y))
        assert_close(own.mean.grad, -want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", SMOOTHED)
def test_the_derivative_by_a_variance_has_the_squared_score_too(name):
    """d log Z / dv = (g^2 - G) / 2 at the outputs, G = -d2 log Z / dm2: the heat equation of a smoothed likelihood."""
    likelihood, y = LIKELIHOODS[name], target(name)
    mean, variance = waves(5, 3, shift=1.0), 0.7 + waves(5, 3, scale=0.4)
    found = likelihood.evidence(mean, variance, y)

    def log():
        return likelihood.evidence(mean, variance, y).log.sum()

    assert_close(differences(variance, log), (found.score.square() - found.precision) / 2, rtol=1e-5, atol=1e-7)
    assert_close(found.precision, -second_differences(mean, log), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["regression", "one-hot"])
def test_the_precision_gradient_is_not_minus_two_times_the_derivative_by_the_variance(name):
    """A weight's G is the sum of G x^2; 2 d/dv of the log evidence is the sum of (g^2 - G) x^2."""
    model, likelihood, x, y = layer(4, 3, 0.0), LIKELIHOODS[name], waves(5, 4, shift=2.0), target(name)
    likelihood(model(x), y).backward()
    outputs = likelihood.evidence(*(part.detach() for part in model(x)), y)
    assert_close(2 * model.weight.precision.grad, torch.einsum("no,ni->oi", outputs.precision, x.square()), rtol=1e-12, atol=0)
    precision = model.weight.precision.data
    by_precision = differences(precision, lambda: log_evidence(model, likelihood, x, y))
    by_variance = -by_precision * precision.square()
    want = torch.einsum("no,ni->oi", outputs.score.square() - outputs.precision, x.square())
    assert_close(2 * by_variance, want, rtol=1e-4, atol=1e-6)


def two_layers():
    return torch.nn.Sequential(layer(4, 3, 0.0), layer(3, 3, 5.0))


def variational_messages(first, second, likelihood, x, y):
    """Scores to the weights of two linear layers, the backward equations written out: the rest integrated over its marginals."""
    (w, v), (b, s) = first.weight.belief(), first.bias.belief()
    a, a_var = torch.einsum("oi,ni->no", w, x) + b, torch.einsum("oi,ni->no", v, x.square()) + s
    (w2, v2), (b2, s2) = second.weight.belief(), second.bias.belief()
    z = torch.einsum("oi,ni->no", w2, a) + b2
    z_var = torch.einsum("oi,ni->no", v2 + w2.square(), a_var) + torch.einsum("oi,ni->no", v2, a.square()) + s2
    _, score, precision = likelihood.evidence(z, z_var, y)
    to_second = torch.einsum("no,ni->oi", score, a) - w2 * torch.einsum("no,ni->oi", precision, a_var)
    to_a = torch.einsum("no,oi->ni", score, w2) - a * torch.einsum("no,oi->ni", precision, v2)
    return torch.einsum("no,ni->oi", to_a, x), to_second


def expected_quadratic(second, mean, variance, weight, message, at):
    """E of the message from above, g (z - m) - G (z - m)^2 / 2, over z = W a + b with independent W, a and b."""
    score, precision = message
    (_, v2), (b2, s2) = second.weight.belief(), second.bias.belief()
    gap = torch.einsum("oi,ni->no", weight, mean) + b2 - at
    z_var = torch.einsum("oi,ni->no", v2 + weight.square(), variance) + torch.einsum("oi,ni->no", v2, mean.square()) + s2
    return (score * gap - precision * (gap.square() + z_var) / 2).sum()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_behind_an_uncertain_input_the_mean_gradient_is_the_variational_message(name):
    model, likelihood, x, y = two_layers(), LIKELIHOODS[name], waves(5, 4, shift=2.0), target(name)
    likelihood(model(x), y).backward()
    to_first, to_second = variational_messages(*model, likelihood, x, y)
    assert_close(model[0].weight.mean.grad, -to_first, rtol=1e-10, atol=1e-12)
    assert_close(model[1].weight.mean.grad, -to_second, rtol=1e-10, atol=1e-12)


def test_the_linear_message_is_the_derivative_of_the_expected_message_from_above():
    """Product factor of Stern et al. 2009: everything but the variable itself is integrated over its marginal."""
    first, second = two_layers()
    likelihood, x, y = LIKELIHOODS["regression"], waves(5, 4, shift=2.0), target("regression")
    mean, variance = (part.detach().requires_grad_() for part in first(x))
    output = second(gbp.Gaussian(mean, variance))
    likelihood(output, y).backward()
    at, spread = (part.detach() for part in output)
    _, *message = likelihood.evidence(at, spread, y)
    inputs, weight = mean.detach().requires_grad_(), second.weight.mean.detach().requires_grad_()
    expected_quadratic(second, inputs, variance.detach(), weight, message, at).backward()
    assert_close(second.weight.mean.grad, -weight.grad, rtol=1e-10, atol=1e-12)
    assert_close(mean.grad, -inputs.grad, rtol=1e-10, atol=1e-12)


RATIOS = {  # |message - derivative| / |derivative| of both layers' weights
    "regression": (0.290256, 0.305991),
    "one-hot": (0.104739, 0.111127),
    "softmax": (0.291766, 0.200027),
}


@pytest.mark.parametrize("name", RATIOS)
def test_behind_an_uncertain_input_it_is_not_the_derivative_of_the_log_evidence(name):
    """Recorded, so that a change is seen: how far the message is from the derivative of the network's own log evidence."""
    model, likelihood, x, y = two_layers(), LIKELIHOODS[name], waves(5, 4, shift=2.0), target(name)
    likelihood(model(x), y).backward()
    found = []
    for part in model:
        true = differences(part.weight.mean.data, lambda: log_evidence(model, likelihood, x, y))
        found.append(float((part.weight.mean.grad + true).norm() / true.norm()))
    assert tuple(found) == pytest.approx(RATIOS[name], rel=1e-3)
