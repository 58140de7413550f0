"""Batches: one rule for all that read them, whatever gives them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import torch_gbp as gbp
from torch_gbp.batches import count_examples, inputs_of, pairs
from torch_gbp.errors import InvalidInput

X, Y = torch.randn(8, 3), torch.arange(8) % 3
DATA = TensorDataset(X, Y)


class Stream(IterableDataset):
    """A stream of whole batches."""

    def __iter__(self):
        yield from zip(X.split(4), Y.split(4), strict=True)


class Indexed:
    """Batches by their numbers alone."""

    def __getitem__(self, number):
        return (X.split(4)[number], Y.split(4)[number])


LOADERS = {
    "loader": lambda: DataLoader(DATA, 4),
    "list": lambda: list(zip(X.split(4), Y.split(4), strict=True)),
    "generator": lambda: zip(X.split(4), Y.split(4), strict=True),
    "stream of batches": Stream,
    "by number": Indexed,
    "fixed batches": lambda: gbp.FixedBatches(DATA, 4, seed=None),
    "loader of fixed batches": lambda: DataLoader(gbp.FixedBatches(DATA, 4, seed=None), batch_size=None),
    "arrays": lambda: [(x.numpy(), y.numpy()) for x, y in zip(X.split(4), Y.split(4), strict=True)],
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_whatever_gives_batches_is_read_alike_by_all(make):
    x, y = (torch.cat(parts) for parts in zip(*(batch[:2] for batch in pairs(make(), None, "here")), strict=True))
    assert_close((x, y), (X, Y), rtol=0, atol=0)
    assert_close(torch.cat(list(inputs_of(make(), None, "here"))), X, rtol=0, atol=0)
    network = nn.BatchNorm1d(3)
    assert gbp.renew_statistics(network, make()) == 1
    assert_close(network.running_mean, torch.stack([part.mean(0) for part in X.split(4)]).mean(0))
    if not isinstance(loader := make(), Stream):  # for `evaluate` a stream is one of single examples, as any data set
        found = gbp.evaluate(nn.Linear(3, 3), loader, outputs="logits", resamples=0)
        assert_close(found.outcome.targets, Y)


def test_examples_are_counted_by_batches_or_by_the_data_set():
    assert [count_examples(make()) for name, make in LOADERS.items() if "fixed" not in name] == [8] * 6
    assert count_examples(LOADERS["loader of fixed batches"]()) == 8


@pytest.mark.parametrize("loader", [X, X.numpy(), gbp.Gaussian(X, X.square())], ids=["tensor", "array", "belief"])
def test_inputs_in_one_are_one_batch(loader):
    (found,) = inputs_of(loader, None, "here")
    assert_close(getattr(found, "mean", found) if isinstance(found, gbp.Gaussian) else found, X, rtol=0, atol=0)


@pytest.mark.parametrize("read", [lambda data: pairs(data, None, "here"), lambda data: inputs_of(data, None, "here")])
@pytest.mark.parametrize(("data", "cause"), [(DATA, "single examples"), ((X, Y), "as they are")], ids=["data set", "pair"])
def test_what_gives_no_batches_is_told_the_loader_that_would(data, cause, read):
    with pytest.raises(InvalidInput, match=f"a loader of batches is needed.*{cause}.*DataLoader"):
        list(read(data))


def test_arrays_of_anything_but_numbers_are_no_inputs():
    with pytest.raises(InvalidInput, match="a batch must be inputs"):
        list(inputs_of([np.array(["a", "b"])], None, "here"))


def test_scores_take_beliefs_as_inputs():
    model = gbp.from_torch(nn.Linear(3, 3), moments=True)
    certain = gbp.Gaussian(X, torch.zeros_like(X))
    found = gbp.evaluate(model, (certain, Y), gbp.Softmax(), resamples=0)
    assert_close(found.outcome.probabilities, gbp.evaluate(model, (X, Y), gbp.Softmax(), resamples=0).outcome.probabilities)
