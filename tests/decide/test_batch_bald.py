"""BatchBALD against joint entropies by brute force, and its draws against what is exact."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from torch_gbp.decide import batch_bald


def networks(samples, examples, classes, seed=0):
    """Class probabilities of so many networks, some examples known well, some told apart by none."""
    logits = 2 * torch.randn(samples, examples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (logits * torch.linspace(0, 2, examples, dtype=torch.float64)[:, None]).softmax(-1)


def joint_information(p, chosen):
    """H(y_1 ... y_b) - sum of E[H(y_i | w)], every joint label written out."""
    labels = itertools.product(range(p.shape[2]), repeat=len(chosen))
    joint = [torch.stack([p[:, i, y] for i, y in zip(chosen, label, strict=True)]).prod(0).mean() for label in labels]
    assert abs(sum(joint) - 1) < 1e-12
    return -sum(q * q.log() for q in joint if q > 0) - torch.special.entr(p[:, chosen]).sum((0, 2, 1)) / len(p)


def greedy(p, k):
    chosen, told = [], []
    for _ in range(k):
        found = {i: joint_information(p, [*chosen, i]) for i in range(p.shape[1]) if i not in chosen}
        chosen.append(max(found, key=found.__getitem__))
        told.append(found[chosen[-1]])
    return chosen, torch.stack(told)


@pytest.mark.parametrize(("samples", "classes", "seed"), [(5, 3, 0), (20, 2, 1), (3, 4, 2)])
def test_greedy_choice_and_gains_are_those_of_brute_force(samples, classes, seed):
    p = networks(samples, 6, classes, seed)
    chosen, gains = batch_bald(p, 4)
    truth, told = greedy(p, 4)
    assert chosen.tolist() == truth
    torch.testing.assert_close(gains.cumsum(0), told, rtol=0, atol=1e-12)


def test_drawn_labels_have_no_bias():
    """Few followed labels, many times: the mean gain is that of all labels, as far as the spread of the mean allows."""
    p = networks(6, 5, 3)[:, 1:]  # four, of which all are chosen
    exact = batch_bald(p, 4)
    runs = [batch_bald(p, 4, 12, torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert all(torch.equal(chosen, exact[0]) for chosen, _ in runs)
    third, last = torch.stack([gains for _, gains in runs])[:, 2:].T  # all of nine joint labels, 12 of 27 drawn
    torch.testing.assert_close(third, exact[1][2].expand_as(third), rtol=0, atol=1e-12)
    assert abs(last.mean() - exact[1][3]) < 4 * last.std() / len(runs) ** 0.5
    assert last.std() > 1e-3


def test_one_network_tells_nothing_and_many_no_more_than_their_logarithm():
    assert batch_bald(networks(1, 4, 3), 3)[1].max() < 1e-12
    assert batch_bald(networks(8, 40, 3), 7)[1].sum() <= math.log(8)
    assert abs(batch_bald(networks(8, 40, 3), 40)[1].sum() - math.log(8)) < 0.1  # by draws


def test_a_copy_of_an_example_is_worth_less_than_another_example():
    p = networks(10, 5, 3)
    twice = torch.cat([p, p[:, -1:]], 1)  # the last one, which BALD likes best, again
    scores = (torch.special.entr(twice.mean(0)) - torch.special.entr(twice).mean(0)).sum(-1)
    assert set(scores.topk(2).indices.tolist()) == {4, 5}
    assert {4, 5} - set(batch_bald(twice, 2)[0].tolist())
