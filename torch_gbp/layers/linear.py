"""GBPLinear: nn.Linear with Gaussian weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from torch_gbp.factor import factor
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import PRIOR_SCALE, STORED_PRECISIONS, Belief, WeightedLayer, require_features, split
from torch_gbp.memory import Forms
from torch_gbp.priors import VarianceFormula, code, weight_prior
from torch_gbp.rules import exact_linear, linear, shared_linear

_EXACT = factor(exact_linear.RULE, STORED_PRECISIONS)
_SEND = {
    shared: Forms(factor(rule, STORED_PRECISIONS), _EXACT) for shared, rule in ((False, linear.RULE), (True, shared_linear.RULE))
}


class GBPLinear(WeightedLayer):
    """Linear layer z = W a + b whose weights and biases are Gaussian marginals.

    m_z = m_a m_W' + m_b, v_z = (m_a^2 + v_a) v_W' + v_a (m_W^2)' + v_b (rules/linear.py).

    Args:
        in_features, out_features, bias, device, dtype: as in torch.nn.Linear.
        prior_variance: variance of the weight prior; None takes the formula.
        prior_scale: factor on the formula's variance.
        prior_formula: a function of `torch_gbp.priors`, or one of your own, of fan-in and ratio fan-out / fan-in.
        random_prior_mean: centre the prior on the random start, as the thesis does, and not on 0.
        shared_precision: one precision for all weights of an input, for speed; False keeps one for every weight.

    Shape: input (*, in_features), a tensor (observed) or a Gaussian; output Gaussian (*, out_features).

    Raises:
        InvalidInput: wrong width, NaN or Inf, integer or empty input, prior variance not positive and finite.

    >>> import torch
    >>> layer = GBPLinear(4, 2)
    >>> layer(torch.ones(3, 4)).variance.shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior_variance: float | None = None,
        prior_scale: float = PRIOR_SCALE,
        prior_formula: VarianceFormula = code,
        random_prior_mean: bool = False,
        shared_precision: bool = True,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        prior = weight_prior(in_features, out_features, prior_scale, prior_variance, prior_formula, random_prior_mean)
        self.make_marginals((out_features, in_features), prior, shared_precision, bias, device, dtype)

    @classmethod
    def from_torch(cls, layer: nn.Linear, *, as_prior: bool = False, **prior: Any) -> GBPLinear:
        """The GBP twin of a torch layer, starting at its weights (as prior means too with `as_prior`)."""
        device, dtype = layer.weight.device, layer.weight.dtype
        twin = cls(layer.in_features, layer.out_features, layer.bias is not None, device, dtype, **prior)
        twin.adopt(layer, as_prior)
        return twin

    def forward(self, input: Belief) -> Gaussian:
        mean, variance = split(input, self, tuple(range(1, 9)))
        require_features(mean.shape[-1], self.in_features, "features", self)
        forms = _SEND[self.shared_precision]
        if mean.ndim == 2:
            return Gaussian(*self.memory.weighted(forms, None, mean, variance, *self.marginals()))
        rows, spread = (None if part is None else part.reshape(-1, self.in_features) for part in (mean, variance))
        assert rows is not None
        output = Gaussian(*self.memory.weighted(forms, None, rows, spread, *self.marginals()))
        return output.reshape(*mean.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
