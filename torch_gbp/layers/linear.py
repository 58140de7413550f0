"""GBPLinear: nn.Linear with Gaussian weights."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from torch_gbp.autograd import passes
from torch_gbp.autograd.bridge import factor
from torch_gbp.checks import require_count, require_like
from torch_gbp.factors.bilinear import rules_of
from torch_gbp.factors.maps import MATMUL
from torch_gbp.factors.per_edge import PerEdge
from torch_gbp.gaussian import Gaussian
from torch_gbp.layers.base import STORED_PRECISIONS, ActivationLayer, Belief, WeightedLayer, require_features, split
from torch_gbp.memory import Forms
from torch_gbp.nodes import Bound, JointNode, Node
from torch_gbp.weights.priors import Covariance, Prior, prior_arguments

_EXACT = factor(PerEdge(MATMUL).rule(), STORED_PRECISIONS)
_RULES = rules_of(MATMUL)
_SEND = {kind: Forms(factor(rule, STORED_PRECISIONS), _EXACT) for kind, rule in _RULES.items()}


class GBPLinear(WeightedLayer):
    """Linear layer z = W a + b whose weights and biases are Gaussian marginals.

    m_z = m_a m_W' + m_b, v_z = (m_a^2 + v_a) v_W' + v_a (m_W^2)' + v_b (factors/bilinear.py).

    Args:
        in_features, out_features, bias, device, dtype: as in torch.nn.Linear.
        prior: of weights and biases, and where they start; None takes `Prior()`.
        covariance: "shared", one precision for all weights of an input, for speed; "diagonal", one for every weight.
        noise: standard deviation of the factor: output = activation(W a + b) + N(0, noise^2).
        activation: a GBPLeakyReLU inside the factor; None where it follows as a layer of its own, or not at all.
        activation_sigma: standard deviation of a unary prior of the output around 0; None for none.
        linearise: expand the product to first order at the means (factors/bilinear.py) in place of moment matching.
        joint: in iterated inference, take the factors of a batch together (nodes/joint.py); linearised.

    Shape: input (*, in_features), a tensor (observed) or a Gaussian; output Gaussian (*, out_features).

    Raises:
        InvalidInput: wrong width, NaN or Inf, integer or empty input, prior variance not positive and finite.

    >>> import torch
    >>> layer = GBPLinear(4, 2)
    >>> layer(torch.ones(3, 4)).variance.shape
    torch.Size([3, 2])
    """

    @prior_arguments
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
        noise: float = 0.0,
        activation: ActivationLayer | None = None,
        activation_sigma: float | None = None,
        linearise: bool = False,
        joint: bool = False,
    ) -> None:
        super().__init__()
        self.set_factor(noise, activation_sigma, activation, linearise)
        self.joint = joint
        in_features = require_count("in_features", in_features, "GBPLinear", fix="use the width of the layer before")
        out_features = require_count("out_features", out_features, "GBPLinear", fix="use 1 or more")
        self.in_features, self.out_features = in_features, out_features
        self.make_marginals((out_features, in_features), (in_features, out_features), prior, covariance, bias, device, dtype)

    @classmethod
    def from_torch(cls, layer: nn.Linear, *, as_prior: bool = False, **options: Any) -> GBPLinear:
        """The GBP twin of a torch layer, starting at its weights (as prior means too with `as_prior`)."""
        device, dtype = layer.weight.device, layer.weight.dtype
        twin = cls(layer.in_features, layer.out_features, layer.bias is not None, device, dtype, **options)
        twin.adopt(layer, as_prior)
        return twin

    def plain(self, input: Tensor) -> Tensor:
        mean, _ = split(input, self, tuple(range(1, 9)))
        require_features(mean.shape[-1], self.in_features, "features", self)
        return self.activated(F.linear(mean, *self.known_weights()))

    def forward(self, input: Belief) -> Gaussian | Tensor:
        if passes.means():
            return self.at_means(input)
        mean, variance = split(input, self, tuple(range(1, 9)))
        require_features(mean.shape[-1], self.in_features, "features", self)
        require_like(mean, self.weight.mean, self)
        forms = _SEND[self.shared_precision, self.linearise]
        if mean.ndim == 2:
            return self.finished(Gaussian(*self.memory.weighted(forms, None, mean, variance, *self.marginals())))
        rows, spread = (None if part is None else part.reshape(-1, self.in_features) for part in (mean, variance))
        assert rows is not None
        output = Gaussian(*self.memory.weighted(forms, None, rows, spread, *self.marginals()))
        return self.finished(output.reshape(*mean.shape[:-1], self.out_features))

    def node(self, learn: bool) -> Node:
        affine = Bound(_RULES[self.shared_precision, self.linearise], None)
        node = self.affine_node(affine, learn)
        return JointNode(node.activation, node.weights, node.noise, node.prior) if self.joint else node

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
