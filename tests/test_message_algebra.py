"""Message algebra on arbitrary values: products and quotients, their order, reshapes, and the message of an evidence."""

from __future__ import annotations

import functools
import itertools
import operator

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from torch_gbp import Gaussian, Message

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Values of this shape, float64, anything from low to high."""
    count = functools.reduce(operator.mul, shape, 1)
    values = draw(st.lists(st.floats(low, high, width=32), min_size=count, max_size=count))
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


@st.composite
def messages(draw: st.DrawFn, count: int = 1) -> list[Message]:
    """Messages of one shape, some of them improper."""
    shape = draw(SHAPES)
    return [Message(draw(tensors(shape, -1e3, 1e3)), draw(tensors(shape, -1e3, 1e3))) for _ in range(count)]


@st.composite
def beliefs(draw: st.DrawFn) -> tuple[Gaussian, Tensor, Tensor]:
    """A belief, and derivatives (g, G) of an evidence that leaves at least a hundredth of its variance."""
    shape = draw(SHAPES)
    belief = Gaussian(draw(tensors(shape, -100, 100)), draw(tensors(shape, 0.0625, 64)))
    return belief, draw(tensors(shape, -10, 10)), draw(tensors(shape, -5, 0.984375)) / belief.variance


@given(messages(2))
def test_a_quotient_takes_out_what_a_product_put_in(pair: list[Message]) -> None:
    first, second = pair
    assert_close((first * second) / second, first, **EXACT)


@given(messages(3))
def test_a_product_does_not_depend_on_the_order_of_its_factors(three: list[Message]) -> None:
    product = three[0] * three[1] * three[2]
    for order in itertools.permutations(three):
        assert_close(order[0] * (order[1] * order[2]), product, rtol=1e-12, atol=1e-9)


@given(messages(2), st.data())
def test_reshapes_commute_with_products(pair: list[Message], data: st.DataObject) -> None:
    first, second = pair
    dims = data.draw(st.permutations(range(first.information.ndim)))

    def turned(message: Message) -> Message:
        return Message(*(part.permute(*dims).flatten() for part in message))

    assert_close(turned(first * second), turned(first) * turned(second), rtol=0, atol=0)


@given(beliefs(), st.data())
def test_reshapes_of_a_belief_commute_with_what_it_is_told(given_: tuple[Gaussian, Tensor, Tensor], data: st.DataObject) -> None:
    belief, score, precision = given_
    dims = data.draw(st.permutations(range(belief.ndim)))
    whole = belief.posterior(score, precision)
    parts = (part.permute(*dims).flatten() for part in (score, precision))
    assert_close(tuple(belief.permute(*dims).flatten().posterior(*parts)), tuple(whole.permute(*dims).flatten()), rtol=0, atol=0)


@given(beliefs())
def test_a_belief_times_the_message_of_an_evidence_is_the_posterior(given_: tuple[Gaussian, Tensor, Tensor]) -> None:
    belief, score, precision = given_
    product = (belief.message() * belief.evidence_message(score, precision)).belief()
    assert_close(tuple(product), tuple(belief.posterior(score, precision)), rtol=1e-9, atol=1e-9)


@given(beliefs())
def test_a_message_says_its_own_derivatives(given_: tuple[Gaussian, Tensor, Tensor]) -> None:
    """The posterior under a message, compared with the belief, gives (g, G) back: g = (m' - m) / v, G = (v - v') / v^2."""
    belief, score, precision = given_
    mean, variance = (belief.message() * belief.evidence_message(score, precision)).belief()
    assert_close((mean - belief.mean) / belief.variance, score, rtol=1e-7, atol=1e-7)
    assert_close((belief.variance - variance) / belief.variance.square(), precision, rtol=1e-7, atol=1e-7)


@given(messages(2), st.floats(0, 1))
def test_damping_moves_from_the_old_message_to_the_new(pair: list[Message], rate: float) -> None:
    new, old = pair
    assert_close(new.damp(old, rate) / old, Message(*(rate * part for part in new / old)), rtol=1e-9, atol=1e-9)
    assert_close(new.damp(old, 1.0), new)


@given(messages(2), st.floats(0.015625, 64))
def test_a_power_of_a_product_is_the_product_of_the_powers(pair: list[Message], power: float) -> None:
    first, second = pair
    assert_close((first * second).tempered(power), first.tempered(power) * second.tempered(power), rtol=1e-12, atol=1e-9)
    assert_close(first.tempered(2.0), first * first, **EXACT)


@given(beliefs())
def test_the_centred_form_is_the_same_message_around_any_mean(given_: tuple[Gaussian, Tensor, Tensor]) -> None:
    (mean, _), score, precision = given_
    message = Message.centred(score, precision, mean)
    moved = Message.centred(message.information - message.precision * 3.0, message.precision, torch.full_like(mean, 3.0))
    assert_close(moved, message, rtol=1e-12, atol=1e-9)
