"""GBPLinear: nn.Linear with Gaussian weights."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import Rule, factor
from torch_gbp.errors.checks import require_count, require_like
from torch_gbp.factors.bilinear import rules_of
from torch_gbp.factors.maps import MATMUL
from torch_gbp.factors.per_edge import PerEdge
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import STORED_PRECISIONS, WeightedLayer, factor_arguments
from torch_gbp.layers.incoming import Belief, require_features, split
from torch_gbp.weights.priors import Covariance, Prior, prior_arguments

_RULES, _EXACT = rules_of(MATMUL), PerEdge(MATMUL).rule()
_SEND = {kind: factor(rule, STORED_PRECISIONS) for kind, rule in _RULES.items()}


class GBPLinear(WeightedLayer):
    """Linear layer z = W a + b whose weights and biases are Gaussian marginals.

    m_z = m_a m_W' + m_b, v_z = (m_a^2 + v_a) v_W' + v_a (m_W^2)' + v_b (factors/bilinear.py).

    Args:
        in_features, out_features, bias, device, dtype: as in torch.nn.Linear.
        prior: of weights and biases, and where they start; None takes `Prior()`.
        covariance: "shared", one precision for all weights of an input, for speed; "diagonal", one for every weight.
            "full" is "diagonal" between batches, "shared_full" is "shared"; in iterated inference, where they are linearised, the
            factors of a batch are taken together, exact in all weights (inference/joint.py).

    Shape: input (*, in_features), a tensor (observed) or a Gaussian; output Gaussian (*, out_features).

    Raises:
        InvalidInput: wrong width, NaN or Inf, integer or empty input, prior variance not positive and finite.

    >>> import torch
    >>> layer = GBPLinear(4, 2)
    >>> layer(torch.ones(3, 4)).variance.shape
    torch.Size([3, 2])
    """

    twin, replaces = nn.Linear, ("linear", "matmul")
    has_full, exact = True, _EXACT

    @prior_arguments
    @factor_arguments
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        prior: Prior | None = None,
        covariance: Covariance = "shared",
    ) -> None:
        super().__init__()
        in_features = require_count("in_features", in_features, "GBPLinear", fix="use the width of the layer before")
        out_features = require_count("out_features", out_features, "GBPLinear", fix="use 1 or more")
        self.in_features, self.out_features = in_features, out_features
        self.make_marginals((out_features, in_features), (in_features, out_features), prior, covariance, bias, device, dtype)

    @classmethod
    def from_torch(cls, layer: nn.Linear, *, as_prior: bool = False, **options: Any) -> GBPLinear:
        """The GBP twin of a torch layer, starting at its weights (as prior means too with `as_prior`)."""
        device, dtype = layer.weight.device, layer.weight.dtype
        twin = cls(layer.in_features, layer.out_features, layer.bias is not None, device, dtype, **options)
        twin.copy_weights(layer, as_prior)
        return twin

    def to_torch(self) -> nn.Module:
        """The torch layer at the means."""
        return self.torch_layer(self.in_features, self.out_features)

    def received(self, input: Belief) -> tuple[Tensor, Tensor | None]:
        mean, variance = split(input, self, tuple(range(1, 9)))
        require_features(mean.shape[-1], self.in_features, "features", self)
        return mean, variance

    def plain(self, input: Tensor) -> Tensor:
        return F.linear(input, *self.known_weights())

    def carried(self, input: Belief) -> Gaussian:
        mean, variance = self.received(input)
        require_like(mean, self.weight.mean, self)
        send = _SEND[self.shared_precision, passes.linearised()]
        if mean.ndim == 2:
            return Gaussian(*send(None, mean, variance, *self.marginals()))
        rows, spread = (None if part is None else part.reshape(-1, self.in_features) for part in (mean, variance))
        output = Gaussian(*send(None, rows, spread, *self.marginals()))
        return output.reshape(*mean.shape[:-1], self.out_features)

    def rule(self, linearised: bool = False) -> Rule:
        return _RULES[self.shared_precision, linearised]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
