"""One marginal, messages to it, and a visit of a store, without optimizer or network."""

import torch

from torch_gbp import Message
from torch_gbp.optim.stores import Step
from torch_gbp.weights.parameter import GaussianParameter
from torch_gbp.weights.priors import Prior


def parameter(prior_mean=None):
    made = GaussianParameter((4, 3), Prior(0.5, 0.3))
    if prior_mean is not None:
        made.set_prior_mean(prior_mean)
        with torch.no_grad():
            made.mean.normal_()
    with torch.no_grad():
        made.precision.mul_(1 + torch.rand_like(made.precision))
    return made


def natural(marginal):
    return Message(marginal.precision.detach() * marginal.mean.detach(), marginal.precision.detach().clone())


def word():
    """A centred message (g, G)."""
    return Message(torch.randn(4, 3), torch.rand(4, 3))


@torch.no_grad()
def visit(store, marginal, state, batch, message, rate=1.0):
    """Opens, lets the message in; returns the cavity in natural form and the site that was told."""
    store.open(marginal, state, batch)
    cavity, site = natural(marginal), Message.centred(*message, marginal.mean.detach().clone())
    store.commit(marginal, state, message, Step(rate, 3.0, batch))
    return cavity, site
