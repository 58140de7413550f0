"""How much more an example counts where there are more weights than examples, and how much a step's messages count."""

from collections.abc import Sequence

from torch_gbp.autograd.sweep import Listener, processes
from torch_gbp.likelihoods import Likelihood

MOST = 2.0
FIRST = 2.0  # how much a weight of the first layer counts
FEW = 500  # examples with which a later weight counts as one; with more it counts less


def automatic_power_factor(weights: Sequence[int], examples: int) -> float:
    """Factor on the power of a likelihood whose power is automatic: min(2, max(1, (2 first + later 500 / n) / n)),
    from the numbers of weights of the first layer (in the order of the parameters) and of all that follow, and the number n of
    examples.

    Weights that are independent a posteriori add up their noise in every sum, the more of it the fewer examples
    there are for a weight, so the crowded network wants a colder posterior. Weights on the inputs crowd most: pixels are
    nearly copies of each other, what a layer has learnt from many examples is not. The form of the rule is empirical: power 128
    was better than 64 for multilayer perceptrons and for few images, 64 for convolutions and many images (benchmarks/README.md).

    >>> [automatic_power_factor(*case) for case in (([30_000], 60_000), ([250, 2_000], 1_000), ([100_000, 20_000], 640))]
    [1.0, 1.5, 2.0]
    """
    first, later = weights[0], sum(weights[1:])
    return min(MOST, max(1.0, (FIRST * first + later * FEW / examples) / examples))


def full_power(likelihood: Likelihood, weights: Sequence[int], examples: int) -> float:
    """The power with which every example counts in the end, what `MessagePassing` adds to an automatic one included.

    >>> from torch_gbp import Softmax
    >>> full_power(Softmax(), [100_000, 20_000], 640), full_power(Softmax(power=3), [100_000, 20_000], 640)
    (128.0, 3.0)
    """
    return likelihood.power * (automatic_power_factor(weights, examples) if likelihood.automatic else 1.0)


def message_weight(listener: Listener, crowding: float, accumulated: int) -> float:
    """The message weight: by how much a step multiplies the messages that it finds.

    The likelihood's power, with what an automatic one leaves to the optimizer, which knows weights and examples; and what undoes
    the averages that Lightning takes over accumulated batches and DDP over processes. Gradients know nothing of it.
    """
    return listener.power * accumulated * processes() * (crowding if listener.automatic else 1.0)


def depth(layers: int, crowding: float) -> float:
    """How deep a network of so many layers with weights is for message passing: layers / 5, or up to layers / 3 where weights
    outnumber the examples (by `automatic_power_factor` c, layers (1 + 2 c) / 15). At depth 1 and less nothing is scaled.

    >>> depth(5, crowding=1.0), depth(6, crowding=2.0)
    (1.0, 2.0)
    """
    return layers * (1 + 2 * crowding) / 15
