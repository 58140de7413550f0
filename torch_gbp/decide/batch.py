"""BatchBALD: examples that tell much together, chosen one after the other by the information that the others leave."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torch_gbp.likelihoods.information import entropy

CONFIGURATIONS = 1000  # labels of the chosen examples that are followed: all of them while there are no more than so many
ENTRIES = 2**23  # of the largest tensor


def batch_bald(
    probabilities: Tensor, k: int, configurations: int = CONFIGURATIONS, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy maximum of the mutual information I(y_1 ... y_k; w) of the chosen examples' labels and the weights.

    The first example has the largest I(y; w); each further one the largest gain of the chain rule,

        I(y; w | y_1 ... y_b) = H(y | y_1 ... y_b) - E[H(y | w)],    p(y | c) = sum_s p(s | c) p(y | w_s)

    averaged over the labels c that the chosen ones may have, with p(s | c) proportional to p(c | w_s). Exact for the S sampled
    networks while classes^b <= `configurations`; beyond, an average over so many labels drawn from their joint distribution.
    S networks tell log S nats at most, all chosen examples together: where the gains come near that, there are too few for k.

    Args:
        probabilities: (S, n, classes), of S networks drawn from the weights' posterior.
        k: number of examples.
        configurations: joint labels that are followed.
        generator: of the drawn labels, on the probabilities' device; None takes torch's own.

    Returns:
        Indices (k,) in the order of choice, and the gain in nats of each.

    Source: Kirsch et al. 2019, algorithm 1 and equations 8 to 12, by the conditional entropies instead of the joint ones.

    >>> told = torch.tensor([[[0.9, 0.1]] * 2 + [[0.2, 0.8]], [[0.1, 0.9]] * 2 + [[0.6, 0.4]]])  # two networks, three examples
    >>> chosen, gain = batch_bald(told, 2)
    >>> chosen.tolist(), gain[0] > gain[1]
    ([0, 1], tensor(True))
    """
    p = probabilities.double()
    noise = entropy(p).mean(0)  # E[H(y | w)], (n,)
    weights = p.new_full((1, len(p)), 1 / len(p))  # p(s | c), (configurations, S)
    chances = p.new_ones(1)  # p(c), of those that are followed
    free = torch.ones(p.shape[1], dtype=torch.bool, device=p.device)
    chosen, gains = [], []
    for _ in range(k):
        gain = torch.where(free, _conditional_entropy(weights, chances, p) - noise, -math.inf)
        best = int(gain.argmax())
        free[best] = False
        chosen.append(best)
        gains.append(gain[best].clamp_min(0))
        weights, chances = _followed(weights, chances, p[:, best], configurations, generator)
    return torch.tensor(chosen, device=p.device), torch.stack(gains).to(probabilities)


def _conditional_entropy(weights: Tensor, chances: Tensor, p: Tensor) -> Tensor:
    """H(y | c) of every example (n,), averaged over the labels c."""
    size = max(1, ENTRIES // p[0].numel())
    parts = zip(weights.split(size), chances.split(size), strict=True)
    return sum((chance @ entropy((weight @ p.flatten(1)).unflatten(1, p.shape[1:])) for weight, chance in parts), p.new_zeros(()))


def _followed(
    weights: Tensor, chances: Tensor, p: Tensor, configurations: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """p(s | c) and p(c) once the labels c have one more, of the example with probabilities p (S, classes)."""
    joint = ((chances[:, None] * weights)[:, None] * p.T).flatten(0, 1)  # p(c, y, s)
    total = joint.sum(1)
    if len(total) <= configurations:
        kept = total.nonzero()[:, 0]
        return joint[kept] / total[kept, None], total[kept]
    kept = _drawn(total, configurations, generator)
    return joint[kept] / total[kept, None], torch.full_like(total[:configurations], 1 / configurations)


def _drawn(chances: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Rows by their chances, as often as expected up to one draw (systematic sampling): an average over them has no bias."""
    start = torch.rand((), generator=generator, dtype=chances.dtype, device=chances.device)
    edges = chances.cumsum(0)
    places = (torch.arange(count, dtype=chances.dtype, device=chances.device) + start) / count * edges[-1]
    return torch.searchsorted(edges, places, right=True).clamp_max(len(chances) - 1)
