"""Exact messages on every edge against the dense posterior: trees to 1e-10, loops in the mean to 1e-8."""

import pytest
import torch
from scalar_graph import Factors, ScalarGraph
from torch.testing import assert_close

from torch_gbp.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("float64")


def linear(index, sigma):
    """Factors c + sum_k J_k x_k with a random J and c for each, and their rows of the dense system."""
    index = torch.tensor(index)
    jacobian, constant = torch.randn(index.shape), torch.randn(len(index))
    return Factors(index, lambda x: (jacobian * x).sum(-1) + constant, sigma), jacobian, constant


def dense(mean, precision, parts):
    """Posterior of all variables by one matrix inverse."""
    system, right = torch.diag(precision), precision * mean
    for factors, jacobian, constant in parts:
        for row, own, shift in zip(factors.index, jacobian, constant, strict=True):
            full = torch.zeros(len(mean)).index_add(0, row, own)
            system = system + torch.outer(full, full) / factors.sigma**2
            right = right - full * shift / factors.sigma**2
    covariance = torch.linalg.inv(system)
    return covariance @ right, covariance.diagonal()


TREE = [[[0, 1, 2]], [[2, 3], [3, 4]], [[4, 5, 6]]]


@pytest.mark.parametrize("observed", [[0], [3], [6, 1], [0, 2, 5]])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 30.0])
def test_a_tree_has_the_dense_posterior(observed, sigma):
    parts = [linear(index, sigma) for index in [*TREE, [[k] for k in observed]]]
    mean, precision = torch.randn(7), torch.rand(7) + 0.1
    graph = ScalarGraph(mean, precision, [part[0] for part in parts], torch.randn(7))
    graph.infer(8)
    answer = dense(mean, precision, parts)
    assert_close(graph.belief().mean, answer[0], rtol=1e-10, atol=1e-10)
    assert_close(graph.belief().variance, answer[1], rtol=1e-10, atol=0)


def test_loops_have_the_means_of_the_dense_posterior_at_convergence():
    parts = [linear([[0, 1, 2], [1, 2, 3], [0, 3, 4], [2, 4, 0]], 0.7), linear([[1], [4]], 0.3)]
    mean, precision = torch.randn(5), torch.rand(5) + 1
    graph = ScalarGraph(mean, precision, [part[0] for part in parts])
    changes = graph.infer(5000, damping=0.5, tolerance=1e-13)
    assert changes[-1] <= 1e-13
    answer = dense(mean, precision, parts)
    assert_close(graph.belief().mean, answer[0], rtol=1e-8, atol=1e-8)
    assert float((graph.belief().variance - answer[1]).abs().max()) > 1e-6  # variances of loops are approximate


def test_variables_without_prior_are_inferred_where_they_are_tied_to_something():
    parts = [linear([[0, 1], [1, 2]], 0.5), linear([[2]], 0.1)]
    graph = ScalarGraph(torch.zeros(3), torch.zeros(3), [part[0] for part in parts])
    graph.infer(6)
    assert_close(graph.belief().mean, dense(torch.zeros(3), torch.zeros(3), parts)[0], rtol=1e-9, atol=1e-9)


def test_a_floating_variable_is_named():
    pair, _, _ = linear([[0, 1], [2, 3]], 1.0)
    with pytest.raises(InvalidInput, match=r"2 of 4 variables have no prior.*Got: variables \[2, 3\]"):
        ScalarGraph(torch.zeros(4), torch.tensor([1.0, 0, 0, 0]), [pair])


def test_damping_and_dropout_leave_the_fixed_point_where_it_is():
    parts = [linear([[0, 1], [1, 2], [2, 0]], 3.0), linear([[0]], 0.2)]
    runs = []
    for damping, dropout in ((0.0, 0.0), (0.7, 0.5)):
        graph = ScalarGraph(torch.zeros(3), torch.ones(3), [part[0] for part in parts])
        graph.infer(400, damping, dropout)
        runs.append(torch.stack(graph.belief()))
    assert_close(runs[0], runs[1], rtol=1e-9, atol=1e-9)


def test_the_energy_is_lowest_at_the_posterior_mean_of_a_linear_graph():
    parts = [linear([[0, 1], [1, 2]], 0.5), linear([[2]], 0.1)]
    graph = ScalarGraph(torch.zeros(3), torch.ones(3), [part[0] for part in parts])
    graph.infer(6)
    lowest, mean = graph.energy(), graph.belief().mean
    system, right = torch.eye(3), torch.zeros(3)
    for factors, jacobian, constant in parts:
        for row, own, shift in zip(factors.index, jacobian, constant, strict=True):
            full = torch.zeros(3).index_add(0, row, own)
            system, right = system + torch.outer(full, full) / factors.sigma**2, right + full * shift / factors.sigma**2
    assert_close(system @ mean + right, torch.zeros(3), rtol=0, atol=1e-9)
    constant = sum(float(part[2].square().sum()) / (2 * part[0].sigma ** 2) for part in parts)
    assert_close(torch.tensor(lowest), 0.5 * mean @ system @ mean + right @ mean + constant, rtol=1e-9, atol=1e-9)
