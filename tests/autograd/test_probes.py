"""The precision that probes give: the Gauss-Newton diagonal, and the likelihoods' own curvature at the outputs."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import torch_gbp as gbp
from torch_gbp.autograd.probes import Prober, due
from torch_gbp.errors import InvalidInput
from torch_gbp.weights.attached import attach, marginals
from torch_gbp.weights.priors import Prior

pytestmark = pytest.mark.usefixtures("float64")
PRIOR = Prior(0.1, 0.0)
DRAWS = 10_000


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(torch.cat([x + torch.tanh(self.second(x)), x], 1).view(len(x), 2, 4).mean(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.last = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        x = x.view(len(x), 2, 2).repeat(1, 1, 2)
        return self.last((x + self.attend(x, x, x, need_weights=False)[0]).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.last = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.last(self.lstm(x.view(len(x), 2, 2))[0][:, -1])


def conv():
    layers = nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Conv1d(3, 3, 2, groups=3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 3)
    return nn.Sequential(nn.Unflatten(1, (1, 4)), *layers)


def normalised():
    return nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.SiLU(), nn.Linear(5, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 3)
    )


NETWORKS = {"conv": conv, "skip": Skip, "normalised": normalised, "attention": Attention, "recurrent": Recurrent}


def with_marginals(network):
    """Marginals on every weight of two axes or more."""
    for module in list(network.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim > 1:
                attach(module, name, PRIOR)
    return network


def weights_of(network):
    return {name: own.mean for name, own in marginals(network).items()}


def dense(network, x, output_curvature):
    """Diagonal of J' F J over the batch, J by the Jacobian of all outputs: batch statistics couple the examples."""
    names, values = zip(*weights_of(network).items(), strict=True)

    def outputs(*parts):
        return torch.func.functional_call(network, dict(zip(names, parts, strict=True)), (x,)).flatten()

    found = {}
    for name, jacobian in zip(names, torch.autograd.functional.jacobian(outputs, values), strict=True):
        flat = jacobian.reshape(len(x), -1, values[names.index(name)].numel())
        # different examples' targets are independent: the Fisher information is a block for each
        found[name] = torch.einsum("nip,nij,njp->p", flat, output_curvature, flat).view_as(values[names.index(name)])
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_square_is_the_dense_gauss_newton_diagonal(name):
    torch.manual_seed(1)
    network, x, likelihood = with_marginals(NETWORKS[name]()), torch.randn(6, 4), gbp.Softmax()
    p = network(x).softmax(1).detach()
    want = dense(network, x, torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    prober, marginals_of = Prober(seed=3), marginals(network)
    for own in marginals_of.values():
        prober.attach(own)
    output, total = network(x), {key: 0.0 for key in want}
    for _ in range(DRAWS):
        prober.probe(output, lambda generator: likelihood.probe(output.detach(), generator), torch.ones(()), moments=True)
        for key, own in marginals_of.items():
            own.hear(own.mean, own.sent[0])  # as the sweep does when it reaches the mean
            total[key] = total[key] + own.curvature
            own.forget()
    for key, own in marginals_of.items():
        found, target = total[key] / DRAWS, own.averaged(want[key])
        assert_close(float(found.sum()), float(target.sum()), rtol=0.02, atol=0)
        assert float((found - target).norm() / target.norm()) < 0.03  # each number has a deviation of up to 1.4 %


LIKELIHOODS = {
    "softmax": gbp.Softmax(),
    "integrated": gbp.IntegratedSoftmax(),
    "one_hot": gbp.OneHotRegression(0.2),
    "squared": gbp.SquaredSoftmax(0.4),
    "regression": gbp.Regression(0.3),
    "learned": gbp.Regression(),
    "heteroscedastic": gbp.HeteroscedasticRegression(),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_drawn_scores_have_mean_0_and_the_curvature_of_the_likelihood(name):
    likelihood, draws = LIKELIHOODS[name], 200_000
    output = torch.tensor([[0.9, -0.4, 0.3, -1.2]])
    scores = likelihood.probe(output.expand(draws, -1), torch.Generator().manual_seed(2))
    targets = {"heteroscedastic": torch.zeros(1, 2), "regression": torch.zeros(1, 4), "learned": torch.zeros(1, 4)}
    target = targets.get(name, torch.zeros(1, dtype=torch.long))
    want = likelihood.evidence(output, torch.zeros_like(output), target).precision[0]
    if name == "heteroscedastic":  # of the mean it depends on nothing else; of the log variance it is 1/2 on average
        want = torch.cat([want[:2], torch.full((2,), 0.5)])
    error = 4 * scores.square().std(0) / math.sqrt(draws)
    assert ((scores.square().mean(0) - want).abs() < error).all()
    assert (scores.mean(0).abs() < 4 * scores.std(0) / math.sqrt(draws)).all()


@pytest.mark.parametrize("regulariser", [None, 0.1])
def test_scores_of_argmax_have_the_hessian_of_the_comparisons(regulariser):
    likelihood, draws = gbp.Argmax(regulariser_variance=regulariser), 200_000
    output = torch.tensor([[0.9, -0.4, 0.3]])
    scores = likelihood.probe(output.expand(draws, -1), torch.Generator().manual_seed(2))
    chances, want = likelihood.distribution(gbp.Gaussian(output, torch.zeros(1, 3))).probs[0], torch.zeros(3, 3)
    for label in range(3):

        def log(z, label=label):
            return likelihood.evidence(z, torch.zeros_like(z), torch.tensor([label])).log.sum()

        want -= chances[label] * torch.autograd.functional.hessian(log, output)[0, :, 0]
    assert_close(scores.t() @ scores / draws, want, rtol=0.02, atol=0.02)


def small():
    torch.manual_seed(0)
    network = with_marginals(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    return network, torch.randn(8, 4), torch.arange(8) % 3


def test_due_at_first_in_every_step_and_then_in_every_eighth():
    network, x, y = small()
    propagate = gbp.configure_optimizers(network, num_data=8, epochs=40)
    asked = []
    for _ in range(30):
        asked.append(any(prober is propagate._prober for prober in due()))
        propagate.zero_grad()
        gbp.Softmax()(network(x), y).backward()
        propagate.step()
    assert asked == [step < 16 or step % 8 == 0 for step in range(30)]


def test_stores_that_keep_what_a_batch_said_ask_in_every_step():
    network, x, y = small()
    propagate = gbp.configure_optimizers(network, num_data=8, store=gbp.Filtering())
    for _ in range(20):
        propagate.zero_grad()
        gbp.Softmax(power=1)(network(x), y).backward()
        assert all(own.curvature is not None for own in marginals(network).values())
        propagate.step()


def test_in_between_the_last_curvature_counts_by_the_examples_of_the_step():
    network, x, y = small()
    propagate = gbp.configure_optimizers(network, num_data=8)
    gbp.Softmax()(network(x), y).backward()
    propagate.step()
    first = [(own, propagate.state[own.mean]["curvature"].clone()) for own in marginals(network).values()]
    propagate._prober.due = False
    propagate.zero_grad()
    gbp.Softmax()(network(x[:2]), y[:2]).backward()
    found = dict(propagate.messages())
    for own, each in first:
        assert_close(found[own].precision, each * 2 * propagate.message_weight, rtol=1e-12, atol=0)


def test_gradients_are_those_of_cross_entropy_and_know_no_power():
    network, x, y = small()
    propagate = gbp.configure_optimizers(network, num_data=8)
    loss = gbp.Softmax(power=50)(network(x), y)
    loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    assert_close(loss.detach(), F.cross_entropy(network(x), y, reduction="sum").detach())
    network.zero_grad()
    F.cross_entropy(network(x), y, reduction="sum").backward()
    assert_close(found, {name: parameter.grad for name, parameter in network.named_parameters()}, rtol=1e-12, atol=1e-14)
    assert propagate.message_weight == 50


def test_the_older_of_two_optimizers_asks_no_more():
    network, x, y = small()
    old, new = (gbp.configure_optimizers(network, num_data=8) for _ in range(2))
    output = network(x)
    gbp.Softmax()(output, y).backward()
    drawn = gbp.Softmax().probe(output.detach(), torch.Generator().manual_seed(new._prober._seed))
    output = network(x)
    for own in old.marginals:
        (score,) = torch.autograd.grad(output, own.mean, drawn, retain_graph=True)
        assert_close(own.curvature, own.averaged(score.square()), rtol=1e-12, atol=0)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.sigmoid(self.first(x))
        y = self.last(x)
        x.mul_(2)
        return y


def test_an_operation_in_place_that_breaks_the_graph_is_named():
    network = with_marginals(InPlace())
    propagate = gbp.configure_optimizers(network, num_data=8)
    with pytest.raises(InvalidInput, match=r"cannot be walked a second time.*in place.*nn\.ReLU\(inplace=True\)"):
        gbp.Softmax()(network(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    assert all(own.curvature is None for own in propagate.marginals)


def test_activations_in_place_are_fine():
    torch.manual_seed(0)
    network = with_marginals(nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)))
    propagate = gbp.configure_optimizers(network, num_data=8)
    gbp.Softmax()(network(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    assert all(float(own.curvature.sum()) > 0 for own in propagate.marginals)


class Silent(gbp.Likelihood):
    """A likelihood of somebody's own that tells no draws."""

    def check(self, output, target):
        pass

    def evidence(self, mean, variance, target):
        return gbp.Softmax().evidence(mean, variance, target)


def test_a_likelihood_without_draws_is_named():
    network, x, y = small()
    propagate = gbp.configure_optimizers(network, num_data=8)
    with pytest.raises(InvalidInput, match=r"targets cannot be drawn.*in Silent.*define probe"):
        Silent()(network(x), y).backward()
    assert all(own.mean.grad is None for own in propagate.marginals)


def test_a_torch_loss_is_named():
    network, x, y = small()
    propagate = gbp.configure_optimizers(network, num_data=8)
    F.cross_entropy(network(x), y).backward()
    with pytest.raises(InvalidInput, match="not a torch_gbp likelihood"):
        propagate.step()
