"""Loaders over tensors in memory: whole batches, the shuffle of an epoch, the split, fixed batches."""

import pytest
import torch
from torch.utils.data import SequentialSampler

from lightning_modules.data.loading import EpochShuffle, TensorPairs, evaluation_loader, split_indices, training_loader
from torch_gbp.errors import InvalidInput


@pytest.fixture
def pairs():
    return TensorPairs(torch.arange(20.0).reshape(10, 2), torch.arange(10))


def test_batches_keep_inputs_with_their_targets(pairs):
    seen = []
    for x, y in training_loader(pairs, batch_size=4):
        torch.testing.assert_close(x[:, 0], 2.0 * y)
        seen += y.tolist()
    assert sorted(seen) == list(range(10))


def test_order_depends_on_seed_and_epoch_alone(pairs):
    def order(seed, epoch):
        loader = training_loader(pairs, 4, seed)
        loader.sampler.set_epoch(epoch)
        torch.rand(epoch + 3)  # the global generator plays no part
        return [int(i) for _, y in loader for i in y]

    assert order(0, 2) == order(0, 2)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_evaluation_keeps_the_order(pairs):
    loader = evaluation_loader(pairs)
    assert isinstance(loader.sampler, SequentialSampler)
    torch.testing.assert_close(torch.cat([y for _, y in loader]), torch.arange(10))


def test_fixed_batches_change_order_but_never_members(pairs):
    loader = training_loader(pairs, 3, fixed_batches=True)
    assert isinstance(loader.sampler, EpochShuffle)

    def visit(epoch):
        loader.sampler.set_epoch(epoch)
        return [(number, tuple(y.tolist())) for _, y, number in loader]

    first, second = visit(0), visit(1)
    assert first != second
    assert dict(first) == dict(second)
    assert sorted(i for members in dict(first).values() for i in members) == list(range(10))


def test_split_is_a_partition_and_seeded():
    train, held_out = split_indices(10, 0.3, seed=1)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(10))
    assert len(held_out) == 3
    torch.testing.assert_close(split_indices(10, 0.3, seed=1)[1], held_out)
    assert split_indices(10, 0.3, seed=2)[1].tolist() != held_out.tolist()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_split_share_out_of_range(share):
    with pytest.raises(InvalidInput, match=r"validation must be in \[0, 1\)"):
        split_indices(10, share)
