"""Every message rule against an independent answer (cases.py, oracle.py)."""

import pkgutil

import pytest
import torch
from case_inputs import Case, message
from cases import CASES
from helpers import as_gradients, messages

import torch_gbp.factors
from torch_gbp.factors import leaky_relu
from torch_gbp.factors.leaky_relu import LeakyReLUOptions

WITHOUT_RULE = {"factor", "maps", "convolutions", "held", "quadrature", "tilted", "torch_functions", "numerics"}
KINDS = ("random", "asymmetric", "extreme")


def send(case: Case, inputs, answer_shape, score, precision, dtype, device):
    """Moments and messages of a rule in the given precision, by way of autograd."""
    leaves = [None if x is None else x.to(device, dtype).requires_grad_() for x in inputs]
    out = case.send(*leaves)
    assert out[0].shape == answer_shape
    backs = as_gradients(score.to(device, dtype), precision.to(device, dtype))
    grads = iter(torch.autograd.grad(out, [x for x in leaves if x is not None], backs, allow_unused=True))
    back = messages(*(None if x is None else next(grads) for x in leaves))
    return [*(part.detach() for part in out), *back]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_gives_the_moments_and_messages_of_the_oracle(case, kind, dtype, device):
    inputs = [None if x is None else x.to(dtype).double() for x in case.sample(kind)]
    probe, spread = case.send(*inputs)
    score, precision = message(kind, probe, case.signed)
    if case.bounded:  # up to 1 - v G = 1e-2: the evidence leaves a hundredth of the variance
        precision = 0.99 / spread * precision / (1 + precision)
        score = score / spread.sqrt() if kind != "extreme" else score.sign() * torch.rand_like(score) * 30 / spread.sqrt()
    score, precision = (part.to(dtype).double() for part in (score, precision))
    if case.signed:  # the belief must outweigh a negative precision
        score, precision = score / inputs[1].sqrt(), precision / inputs[1]
    expected = case.answer(score, precision, *inputs)
    found = send(case, inputs, expected[0].shape, score, precision, dtype, device)
    tolerance = case.float64 if dtype == torch.float64 else case.float32
    for want, got in zip(expected, found, strict=True):
        assert (want is None) == (got is None)
        if want is None:
            continue
        scale = float(want.abs().max())
        torch.testing.assert_close(got.cpu().double(), want, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("size", [14, 15, 16, 60])
def test_large_activations_go_in_blocks_without_a_difference(size, monkeypatch):
    inputs = torch.randn(size, 3), torch.rand(size, 3)
    whole = leaky_relu.forward(LeakyReLUOptions(0.1), *inputs)
    monkeypatch.setattr(leaky_relu, "BLOCK", 7)
    torch.testing.assert_close(leaky_relu.forward(LeakyReLUOptions(0.1), *inputs), whole, rtol=1e-6, atol=1e-6)


def test_every_rule_module_has_a_row():
    modules = {module.name for module in pkgutil.iter_modules(torch_gbp.factors.__path__)} - WITHOUT_RULE
    assert modules == {case.rule.__name__.rpartition(".")[2] for case in CASES}


def test_every_row_has_its_own_name():
    assert len({case.name for case in CASES}) == len(CASES)
