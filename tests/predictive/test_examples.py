"""Loaders, batches and targets: what fit refuses, evaluation, calibration and prediction refuse too, and nothing changes."""

import pytest
import torch
from helpers import changed, marginals, mlp, three_classes
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import torch_gbp as gbp
from torch_gbp import Gaussian, LinearResponse, Regression, Softmax, Trainer, calibrate
from torch_gbp.errors import GBPError, InvalidInput

with torch.random.fork_rng():
    torch.manual_seed(0)
    X, LABELS = three_classes(12)
    VALUES = torch.randn(12, 1)


def trainer(regression=False, **options):
    model, likelihood = (mlp(outputs=1), Regression(0.1)) if regression else (mlp(), Softmax())
    return Trainer(model, likelihood, epochs=1, progress=False, **options)


TARGETS = {  # regression or not, targets of other shapes that torch would broadcast
    "values (n,) for (n, 1)": (True, VALUES[:, 0], r"targets \(12,\), outputs \(12, 1\)"),
    "values (n, n) for (n, 1)": (True, VALUES.expand(12, 12), r"targets \(12, 12\), outputs \(12, 1\)"),
    "one value for all": (True, VALUES[:1], r"targets \(1, 1\), outputs \(12, 1\)"),
    "labels (n, 1) for (n,)": (False, LABELS[:, None], r"labels \(12, 1\), outputs \(12, 3\)"),
    "one label for all": (False, LABELS[:1], r"labels \(1,\), outputs \(12, 3\)"),
    "labels out of range": (False, LABELS + 1, r"labels must lie in 0 \.\.\. 2"),
    "labels as numbers": (False, LABELS.float(), "labels must be integers"),
    "NaN": (True, torch.full((12, 1), torch.nan), "12 targets are NaN or Inf"),
}
USES = {
    "fit": lambda t, batches: t.fit(batches),
    "evaluate": lambda t, batches: t.evaluate(batches),
    "calibrate": lambda t, batches: calibrate(t.model, t.likelihood, batches),
    "linear response": lambda t, batches: LinearResponse(t.model, t.likelihood, *batches[0]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(("regression", "targets", "text"), TARGETS.values(), ids=TARGETS)
def test_targets_that_do_not_fit_are_refused_and_not_broadcast(regression, targets, text, use):
    own = trainer(regression)
    before, widening = marginals(own.model), own.likelihood.widening.clone()
    with pytest.raises(InvalidInput, match=text):
        use(own, [(X, targets)])
    assert changed(before, own.model) == [] and torch.equal(own.likelihood.widening, widening)


def test_smoothed_labels_are_scored_by_their_expected_log_probability(float64):
    own, x = trainer(), X.double()
    own.model.double()
    smooth = 0.9 * nn.functional.one_hot(LABELS, 3) + 0.1 / 3
    found = own.evaluate([(x, smooth)])
    with torch.no_grad():
        logits = own.likelihood.predictive(own.model(x)).logits
    assert found.log_evidence == pytest.approx(float((smooth * logits).sum(1).mean()), rel=1e-12)
    assert found.accuracy == own.evaluate([(x, LABELS)]).accuracy
    assert calibrate(own.model, own.likelihood, [(x, smooth)]).widening > 0


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, LABELS, strict=True)


BATCHES = {  # what a loader may give besides pairs
    "nothing": ([], "no examples|at least one"),
    "dictionaries": ([{"x": X, "y": LABELS}], r"a batch must be \(input, target\).*Got: dict with \['x', 'y'\]"),
    "inputs alone": (DataLoader(TensorDataset(X), 4), r"a batch must be \(input, target\).*Got: list of \['Tensor'\]"),
    "tensors": ([X], r"a batch must be \(input, target\).*Got: Tensor"),
    "a tensor": (X, "a loader of batches is needed"),
    "text": ("data", "a loader of batches is needed"),
    "None": (None, "a loader of batches is needed"),
    "targets of numbers": ([(X, LABELS.tolist())], r"a batch must be \(input, target\).*targets that are no tensor"),
    "beliefs alone": ([Gaussian(X, X.square())], r"a batch must be \(input, target\)"),
    "an empty batch": ([(X[:0], LABELS[:0])], "empty|at least one|is needed"),
}


@pytest.mark.parametrize("use", [USES[name] for name in ("fit", "evaluate", "calibrate")], ids=("fit", "evaluate", "calibrate"))
@pytest.mark.parametrize(("loader", "text"), BATCHES.values(), ids=BATCHES)
def test_batches_that_are_no_pairs_are_named(loader, text, use):
    own = trainer()
    before = marginals(own.model)
    with pytest.raises(InvalidInput, match=text) as raised:
        use(own, loader)
    assert "Way out: " in str(raised.value)
    assert changed(before, own.model) == []


LOADERS = {
    "drop_last that leaves nothing": (
        lambda: DataLoader(TensorDataset(X, LABELS), 16, drop_last=True),
        "gave no batch.*drop_last",
    ),
    "an empty data set": (lambda: DataLoader(TensorDataset(X[:0], LABELS[:0]), 4), "number of training examples.*of length 0"),
    "a stream": (lambda: DataLoader(Stream(), 4), "number of training examples.*Stream without length"),
    "a generator": (lambda: (batch for batch in [(X, LABELS)]), "gave no batch.*spent loader"),
    "a batch number that is none": (lambda: [(X, LABELS, X)], "number of a batch must be an integer"),
}


@pytest.mark.parametrize(("make", "text"), LOADERS.values(), ids=LOADERS)
def test_loaders_that_cannot_be_trained_on_are_named(make, text):
    own = trainer()
    before = marginals(own.model)
    with pytest.raises(InvalidInput, match=text):
        own.fit(make())
    assert changed(before, own.model) == []


PREDICT = {
    "nothing": ([], "gave no batch"),
    "dictionaries": ([{"x": X}], r"a batch must be.*Got: dict with \['x'\]"),
    "lists": ([[1.0, 2.0]], "a batch must be"),
    "an empty list": ([[]], "a batch must be"),
    "a number": (3, "a loader of batches is needed"),
    "integers": (X.long(), "inputs must be floating-point"),
}


@pytest.mark.parametrize(("inputs", "text"), PREDICT.values(), ids=PREDICT)
def test_predict_names_what_it_cannot_take(inputs, text):
    with pytest.raises(InvalidInput, match=text):
        trainer().predict(inputs)


def test_predict_takes_tensors_beliefs_and_loaders_alike():
    own, data = trainer(), TensorDataset(X, LABELS)
    expected = own.predict(X).probs
    assert_close(own.predict(DataLoader(data, 5)).probs, expected)
    assert_close(own.predict([X[:5], X[5:]]).probs, expected)
    assert_close(own.predict(Gaussian(X, torch.zeros_like(X))).probs, expected)


NETWORKS = {
    "none": lambda: nn.Sequential(),
    "torch's": lambda: nn.Linear(3, 3),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_networks_without_beliefs_are_named(make, use):
    own = trainer()
    own.model = make()
    with pytest.raises(GBPError, match=r"must be a Gaussian|not Gaussian|no marginals|no GBP"):
        use(own, [(X, LABELS)])


class Breaking(nn.Module):
    """Stops in the middle of a forward pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.frozen = mlp(), nn.Dropout().eval()

    def forward(self, x):
        raise RuntimeError("stop")


@pytest.mark.parametrize("use", [USES[name] for name in ("evaluate", "calibrate")], ids=("evaluate", "calibrate"))
@pytest.mark.parametrize("breaks", [True, False])
def test_every_module_keeps_its_own_mode_after_an_error_too(use, breaks):
    own = trainer()
    if breaks:
        own.model = Breaking()
    else:
        own.model[1].eval()
    modes = [module.training for module in own.model.modules()]
    assert True in modes and False in modes
    if breaks:
        with pytest.raises(RuntimeError, match="stop"):
            use(own, [(X, LABELS)])
    else:
        use(own, [(X, LABELS)])
    assert [module.training for module in own.model.modules()] == modes


UNSOUND = {
    "negative": (X, -X.square(), "36 of 36 entries"),
    "NaN": (X, torch.where(X.max() - 1e-6 < X, torch.nan, 1.0), "1 of 36 entries"),
    "infinite": (X, torch.full_like(X, torch.inf), "36 of 36 entries"),
    "NaN means": (torch.full_like(X, torch.nan), X.square(), "36 of 36 entries"),
    "another shape": (X, X.square()[:, :1], r"tensors of one shape.*Got: \(12, 3\) and \(12, 1\)"),
    "a number": (X, 1.0, r"tensors of one shape.*Got: \(12, 3\) and 1\.0"),
    "integers": (X.long(), X.long().abs(), "must be floating point"),
}


@pytest.mark.parametrize(("mean", "variance", "text"), UNSOUND.values(), ids=UNSOUND)
@pytest.mark.parametrize("grad", [True, False])
def test_unsound_beliefs_are_named_where_they_enter(mean, variance, text, grad):
    belief = Gaussian(mean, variance)
    uses = [mlp(), nn.Sequential(gbp.GBPLeakyReLU(0.1)), Softmax().predictive, lambda x: Softmax()(x, LABELS)]
    for use in uses:
        with torch.set_grad_enabled(grad), pytest.raises(InvalidInput, match=text):
            use(belief)


def test_iterated_inference_needs_an_iteration():
    graph = gbp.FactorGraph(mlp(covariance="full"), X, gbp.SquaredSoftmax(), LABELS)
    for bad in (0, -1, 1.5, "a"):
        with pytest.raises(InvalidInput, match=r"iterations must be an integer, at least 1.*Way out"):
            graph.infer(bad)
