"""A variable of a factor graph: cheap ways to a part of its belief say the same as the whole."""

import pytest
import torch
from torch.testing import assert_close

from torch_gbp.gaussian import Gaussian, Message
from torch_gbp.inference.damping import Damping, Iteration
from torch_gbp.inference.variable import Variable

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


@pytest.fixture(params=[(name, edges) for name in VARIABLES for edges in (1, 3)], ids=lambda param: f"{param[0]}, {param[1]}")
def variable(request):
    """With messages from both sides, those from above twice."""
    name, edges = request.param
    made = VARIABLES[name]()
    made.predict(torch.randn(SHAPE), torch.rand(SHAPE) + 0.1)
    for edge in [made.edge() for _ in range(edges)] * 2:
        edge.receive(message(*SHAPE), Iteration(Damping()), 0.5)
        made.belief()
    return made


def dense(variable, without=None):
    """Prior x messages from below and above, but for one."""
    product = Gaussian(*variable.prediction).message()
    for edge in variable.edges:
        product = product if edge is without else product * Message(*edge.above.parts)
    mean, variance = (product if variable.prior is None else product * variable.prior).belief()
    if variable.values is not None:
        known = torch.ones(SHAPE, dtype=torch.bool) if variable.known is None else variable.known
        mean, variance = variable.values.where(known, mean), variance.masked_fill(known, 0)
    return mean, variance


def test_the_belief_is_prior_times_all_messages(variable):
    found, (mean, variance) = variable.belief(), dense(variable)
    assert_close(found[0], mean)
    whole = variable.known is None and variable.values is not None  # then the variance is None
    assert_close(torch.zeros(SHAPE) if whole and found[1] is None else found[1], variance)


def test_the_cavity_of_an_edge_leaves_out_its_own_message_alone(variable):
    for edge in variable.edges:
        assert_close(edge.cavity_moments(), dense(variable, edge))


def test_the_mean_alone_is_the_beliefs(variable):
    assert_close(variable.belief_mean(), variable.belief()[0])


def test_picked_entries_are_those_of_the_whole(variable):
    def pick(entries):
        return entries.flip(0)[1::2]

    for edge in variable.edges:
        (mean, variance), (all_means, all_variances) = edge.cavity_at(pick), edge.cavity()
        assert_close(mean, pick(all_means))
        assert_close(variance, None if all_variances is None else pick(all_variances))


def test_a_replaced_message_is_heard(variable):
    before, said = variable.rest(), message(*SHAPE)
    variable.edges[0].replace(said)
    after = said if variable.prior is None else said * variable.prior
    for edge in variable.edges[1:]:
        after = after * Message(*edge.above.parts)
    assert_close(tuple(variable.rest()), tuple(after))
    assert not torch.equal(before.precision, variable.rest().precision)


def test_beliefs_do_not_write_over_what_they_are_made_of(variable):
    kept = [*variable.prediction, *variable.rest(), *(part for edge in variable.edges for part in edge.above.parts)]
    copies = [part.clone() for part in kept]
    for look in (variable.belief, variable.belief_mean, variable.score, *(edge.cavity for edge in variable.edges)):
        look()
    assert_close(kept, copies, rtol=0, atol=0)


def test_a_start_stands_where_nothing_was_said():
    """With a prior until the first message; without one, entry by entry, where precisions are 0."""
    start = torch.tensor([0.3, -0.7])
    prior = Message(torch.zeros(2), torch.full((2,), 4.0))
    known = Variable(prior, start=start)
    edge = known.edge()
    assert_close(known.belief(), (start, torch.full((2,), 0.25)))
    edge.replace(Message(torch.tensor([3.0, 0.0]), torch.tensor([2.0, 0.0])))
    assert_close(known.belief(), (torch.tensor([0.5, 0.0]), torch.tensor([1 / 6, 0.25])))
    free = Variable(start=start)
    edge = free.edge()
    assert_close(free.belief_mean(), start)
    edge.replace(Message(torch.tensor([3.0, 0.0]), torch.tensor([2.0, 0.0])))
    assert_close(free.belief(), (torch.tensor([1.5, -0.7]), torch.tensor([0.5, torch.inf])))
