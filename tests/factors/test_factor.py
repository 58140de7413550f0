"""What a factor derives from its moments: messages and the linearised form, against the closed forms that override them."""

import pytest
import torch
from case_inputs import message, shared, weighted
from cases import FACTOR_MAPS, MAPS
from torch.testing import assert_close

from torch_gbp.errors import MissingRule
from torch_gbp.factors.bilinear import Bilinear
from torch_gbp.factors.covariance import DIAGONAL, FULL, SHARED
from torch_gbp.factors.factor import Factor, Linearised
from torch_gbp.factors.maps import MATMUL

ROWS = [(map, name) for map in ("matmul", "conv", "conv_transpose") for name in MAPS[map][1]]


def drawn(map, name, covariance, observed):
    """Inputs of a bilinear factor, and its options."""
    activation, weight, options = MAPS[map][1][name]
    groups = options.groups if map == "conv_transpose" else 1
    sample = weighted(activation, weight, observed, not observed, groups)
    return (shared(sample) if covariance is SHARED else sample)("asymmetric"), options


def assert_same(found, expected):
    for own, wanted in zip(found, expected, strict=True):
        assert (own is None) == (wanted is None)
        if wanted is not None:
            scale = float(wanted.abs().max())
            assert_close(own, wanted, rtol=1e-13, atol=1e-13 * scale)


@pytest.mark.parametrize("observed", [False, True], ids=["hidden", "observed"])
@pytest.mark.parametrize("covariance", [DIAGONAL, SHARED], ids=["diagonal", "shared"])
@pytest.mark.parametrize(("map", "name"), ROWS)
def test_closed_messages_of_a_bilinear_factor_are_the_derived_ones(map, name, covariance, observed):
    inputs, options = drawn(map, name, covariance, observed)
    own = Bilinear(FACTOR_MAPS[map], covariance, 2)
    moments, saved = own.forward(options, *inputs)
    above = message("asymmetric", moments[0])
    assert_same(own.backward(options, saved, *above), Factor.backward(own, options, inputs, *above))


@pytest.mark.parametrize("observed", [False, True], ids=["hidden", "observed"])
@pytest.mark.parametrize("covariance", [DIAGONAL, SHARED], ids=["diagonal", "shared"])
@pytest.mark.parametrize(("map", "name"), ROWS)
def test_first_order_of_a_bilinear_factor_is_its_derived_linearisation(map, name, covariance, observed):
    inputs, options = drawn(map, name, covariance, observed)
    derived, closed = Linearised(Bilinear(FACTOR_MAPS[map], covariance, 2)), Bilinear(FACTOR_MAPS[map], covariance, 1)
    moments, saved = closed.forward(options, *inputs)
    assert_same(derived.moments(options, *inputs), moments)
    above = message("asymmetric", moments[0])
    assert_same(derived.backward(options, inputs, *above), closed.backward(options, saved, *above))


def test_a_factor_of_two_variables_has_no_exact_messages_by_itself():
    with pytest.raises(MissingRule, match="Bilinear has no exact messages"):
        Bilinear(MATMUL, DIAGONAL, 2).per_edge()


def test_a_full_covariance_has_no_second_order():
    one = torch.ones(1, 1)
    with pytest.raises(MissingRule, match="full covariance is for linearised factors"):
        Bilinear(MATMUL, FULL, 2).moments(None, one, None, one, one[None], None, None)
