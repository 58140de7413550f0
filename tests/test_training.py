"""Little real runs: custom networks, fixed batches, the Trainer, and rows of a batch."""

import pytest
import torch
from helpers import changed, lenet, marginals, mlp, sweep, three_classes
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from torch_gbp import (
    AveragedSites,
    BatchSites,
    Filtering,
    FixedBatches,
    Gaussian,
    GBPLeakyReLU,
    GBPLinear,
    MessagePassing,
    Prior,
    Regression,
    Softmax,
    Trainer,
)


class Residual(nn.Module):
    """A network whose forward has a skip connection, a reshape and two branches."""

    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.leave = (GBPLinear(*size, prior=Prior(scale=1.0)) for size in ((2, 16), (8, 8), (16, 1)))
        self.act = GBPLeakyReLU(0.1)

    def forward(self, x):
        left, right = torch.chunk(self.act(self.enter(x)), 2, dim=1)
        left = left + self.act(self.inner(left))
        joined = torch.stack([left, right], 1).reshape(len(x), 16)
        return self.leave(joined)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_custom_network_learns_a_curve(dtype):
    x = torch.linspace(-2, 2, 64, dtype=dtype)[:, None] * torch.tensor([1.0, 0.3], dtype=dtype)
    y = x[:, :1].abs() - 1
    model, likelihood = Residual().to(dtype), Regression(0.01)
    propagate = MessagePassing(model.parameters(), 64, epochs=60)
    for _ in range(60):
        for part in torch.randperm(64).split(8):
            sweep(propagate, model, likelihood, x[part], y[part])
    output = model.eval()(x).detach()
    assert float((output.mean - y).square().mean().sqrt()) < 0.15  # the curve's own deviation is 0.6
    assert float(likelihood(output, y) / 64) < 0.0  # -log p(y); N(y; 0, var y) has 0.9
    assert (likelihood.predictive(output).variance >= 0.01).all()


@pytest.mark.parametrize("store", [AveragedSites(), BatchSites(), Filtering()], ids=lambda store: type(store).__name__)
def test_every_store_learns_three_classes(store):
    x, y = three_classes(120)
    batches = DataLoader(FixedBatches(TensorDataset(x, y), 10), batch_size=None, shuffle=True)
    model = nn.Sequential(GBPLinear(3, 6, prior=Prior(scale=1.0)), GBPLeakyReLU(0.1), GBPLinear(6, 3, prior=Prior(scale=1.0)))
    trainer = Trainer(model, Softmax(power=1.0), epochs=8, lr=0.4, store=store, progress=False)
    history = trainer.fit(batches)
    assert history[-1].log_evidence > max(history[0].log_evidence, -0.3)  # guessing has -1.1
    assert trainer.evaluate([(x, y)]).accuracy > 0.95


def test_fixed_batches_deal_every_example_once():
    data = TensorDataset(torch.arange(23.0)[:, None], torch.arange(23))
    batches = FixedBatches(data, 5, seed=3)
    assert (len(batches), batches.num_data) == (5, 23)
    members = [batches[b][1].tolist() for b in range(5)]
    assert sorted(n for batch in members for n in batch) == list(range(23)) and members[0] != [0, 1, 2, 3, 4]
    assert [len(m) for m in members] == [5, 5, 5, 5, 3]
    again = FixedBatches(data, 5, seed=3)
    assert [again[b][1].tolist() for b in range(5)] == members
    for x, y, b in DataLoader(batches, batch_size=None, shuffle=True):
        assert y.tolist() == members[b] and x[:, 0].long().tolist() == members[b]
    assert FixedBatches(data, 5, seed=None)[0][1].tolist() == [0, 1, 2, 3, 4]


def test_trainer_history_and_report():
    x, y = three_classes()
    trainer = Trainer(mlp(), Softmax(), epochs=3, progress=False)
    history = trainer.fit(DataLoader(TensorDataset(x, y), 20), validation=[(x, y)])
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert history[-1].validation == trainer.evaluate([(x, y)])
    assert history[-1].report.examples == 20
    assert trainer.optimizer.param_groups[0]["examples_seen"] == 180


def test_trainer_evaluates_what_it_predicts():
    x, y = three_classes()
    trainer = Trainer(mlp(), Softmax(), epochs=1, progress=False)
    trainer.fit([(x, y)])
    predictive = trainer.predict(x)
    loader = DataLoader(TensorDataset(x, y), 7)
    assert_close(trainer.predict(loader).probs, predictive.probs)
    found = trainer.evaluate(loader)
    assert found.rmse is None
    assert found.accuracy == pytest.approx(float((predictive.probs.argmax(1) == y).float().mean()))
    assert found.log_evidence == pytest.approx(float(predictive.log_prob(y).mean()), rel=1e-5)


def test_trainer_evaluates_regression_per_example():
    x = torch.randn(40, 3)
    y = torch.stack([x[:, 0], -x[:, 1]], 1)
    likelihood = Regression(0.1)
    trainer = Trainer(mlp(outputs=2), likelihood, epochs=2, progress=False)
    trainer.fit([(x, y)])
    found, output = trainer.evaluate([(x[:15], y[:15]), (x[15:], y[15:])]), trainer.model(x).detach()
    assert found.accuracy is None
    assert found.log_evidence == pytest.approx(float(likelihood.log_evidence(output, y).mean()), rel=1e-5)
    assert found.rmse == pytest.approx(float((output.mean - y).square().mean().sqrt()), rel=1e-5)


def test_early_stopping_goes_back_to_the_best_pass(monkeypatch):
    """The validation evidence rises twice, then falls: patience 2 stops at pass 4 and keeps pass 2."""
    x, y = three_classes()
    trainer, seen = Trainer(mlp(), Softmax(), epochs=9, patience=2, progress=False), []
    evaluate, bonus = trainer.evaluate, iter([1.0, 2.0, 1.5, 1.7])

    def judged(loader):
        with trainer.optimizer.settled():
            seen.append(marginals(trainer.model))
        return evaluate(loader)._replace(log_evidence=next(bonus))

    monkeypatch.setattr(trainer, "evaluate", judged)
    history = trainer.fit(DataLoader(TensorDataset(x, y), 20), validation=[(x, y)])
    assert len(history) == 4
    assert changed(seen[1], trainer.model) == []
    assert changed(seen[3], trainer.model) != []


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("drop_last", [False, True], ids=["last_smaller", "rest_dropped"])
def test_the_trainer_ends_at_the_average_of_the_last_means(epochs, drop_last):
    """Before the last validation, and in no step before; also in a single pass that drops what fills no batch."""
    x, y = three_classes()
    loader = DataLoader(TensorDataset(x, y), 9, drop_last=drop_last)
    trainer, settled = Trainer(mlp(), Softmax(), epochs=epochs, store=AveragedSites(tail=0.9), progress=False), []

    def judged(_):
        mean = trainer.model[0].weight.mean
        settled.append(torch.equal(mean, trainer.optimizer.state[mean]["average"]))

    trainer.evaluate = judged
    trainer.fit(loader, validation=loader)
    assert settled == [False] * (epochs - 1) + [True]


@pytest.mark.parametrize("make", [mlp, lenet, Residual])
def test_a_batch_of_one_is_a_row_of_a_batch(make):
    model = make().double()
    x = {mlp: torch.randn(9, 3), lenet: torch.randn(9, 1, 8, 8), Residual: torch.randn(9, 2)}[make].double()
    whole = model(x)
    for n in (0, 4):
        assert_close(tuple(model(x[n : n + 1])), tuple(whole[n : n + 1]), rtol=1e-13, atol=1e-13)


def test_more_axes_than_two_are_rows():
    layer, x = GBPLinear(3, 2).double(), torch.randn(4, 5, 3).double()
    flat = layer(x.reshape(20, 3))
    assert_close(tuple(layer(x)), tuple(flat.reshape(4, 5, 2)), rtol=1e-14, atol=1e-14)
    belief = Gaussian(x, torch.rand_like(x))
    assert_close(tuple(layer(belief)), tuple(layer(belief.reshape(20, 3)).reshape(4, 5, 2)), rtol=1e-14, atol=1e-14)
    assert layer(x[0, 0]).shape == (2,)


def test_evaluation_mode_predicts_the_same_without_a_graph():
    model, x = mlp(), torch.randn(5, 3)
    expected = model(x)
    with torch.no_grad():
        found = model.eval()(x)
    assert not found.mean.requires_grad
    assert_close(tuple(found), tuple(part.detach() for part in expected), rtol=0, atol=0)
