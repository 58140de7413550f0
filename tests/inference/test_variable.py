"""A variable of a factor graph: cheap ways to a part of its belief say the same as the whole."""

import pytest
import torch
from torch.testing import assert_close

from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.nodes import Pace, Variable

pytestmark = pytest.mark.usefixtures("float64")
SHAPE = 5, 3


def message(*shape):
    return Message(torch.randn(shape), torch.rand(shape) + 0.1)


KNOWN = torch.tensor([True, False, False, True, False])[:, None].expand(SHAPE)
VARIABLES = {
    "no prior": lambda: Variable(),
    "prior about 0": lambda: Variable(Message(torch.zeros(()), torch.tensor(0.7))),
    "prior about a number": lambda: Variable(message()),
    "prior by entry": lambda: Variable(message(*SHAPE)),
    "partly observed": lambda: Variable(message(), torch.randn(SHAPE), KNOWN),
    "observed": lambda: Variable(message(), torch.randn(SHAPE)),
}


@pytest.fixture(params=VARIABLES)
def variable(request):
    """With messages from both sides, the one from above twice."""
    made = VARIABLES[request.param]()
    made.predict(torch.randn(SHAPE), torch.rand(SHAPE) + 0.1)
    for _ in range(2):
        made.hear(message(*SHAPE), Pace(), 0.5)
        made.belief()
    return made


def test_the_belief_is_prior_times_both_messages(variable):
    own, above = Gaussian(*variable.prediction).message(), Message(*variable.above.parts)
    product = own * above if variable.prior is None else own * above * variable.prior
    mean, variance = product.belief()
    if variable.values is not None:
        known = torch.ones(SHAPE, dtype=torch.bool) if variable.known is None else variable.known
        mean, variance = variable.values.where(known, mean), variance.masked_fill(known, 0)
    found = variable.belief()
    assert_close(found[0], mean)
    whole = variable.known is None and variable.values is not None  # then the variance is None
    assert_close(torch.zeros(SHAPE) if whole and found[1] is None else found[1], variance)


def test_the_mean_alone_is_the_beliefs(variable):
    assert_close(variable.belief_mean(), variable.belief()[0])


def test_picked_entries_are_those_of_the_whole(variable):
    def pick(entries):
        return entries.flip(0)[1::2]

    (mean, variance), (all_means, all_variances) = variable.upward_at(pick), variable.upward()
    assert_close(mean, pick(all_means))
    assert_close(variance, None if all_variances is None else pick(all_variances))


def test_a_replaced_message_is_heard(variable):
    before, said = variable.rest(), message(*SHAPE)
    variable.replace(said)
    after = said if variable.prior is None else said * variable.prior
    assert_close(tuple(variable.rest()), tuple(after))
    assert not torch.equal(before.precision, variable.rest().precision)


def test_beliefs_do_not_write_over_what_they_are_made_of(variable):
    kept = [*variable.prediction, *variable.above.parts, *variable.rest()]
    copies = [part.clone() for part in kept]
    for look in (variable.belief, variable.belief_mean, variable.upward, variable.answer):
        look()
    assert_close(kept, copies, rtol=0, atol=0)
