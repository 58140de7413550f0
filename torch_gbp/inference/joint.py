"""The joint factor of a linear layer: all examples' factors of one output are one factor, exact in the weights.

Examples push the weights of an output in nearly the same direction, so the sum of their messages overshoots by up to the
number of examples. Taken together, the residuals of a batch have the covariance, for each output j and N examples,

    K_j = D_j (P V_j P' + v_d) D_j + diag(D_j^2 s_j + noise + 1 / R_j)        P (N, I) the inputs' means, D_j = diag f'(u_j)

with V_j and v_d the variances of weights and bias before the batch, s = sum_k W_jk^2 v_k of the inputs, and R_j the precisions
of the rest at the outputs. Then the batch's scores are r = K^-1 (mean of the rest - prediction before the batch), the weights
W_j = W0_j + V_j P' D_j r, and the message to an output is the prediction from all other examples.
Source: Woodbury's identity on the M-dimensional factor of GBP Learning (arXiv 2311.14649), M the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.bases.cosine import CosineBasis
from torch_gbp.errors import InvalidInput
from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import DampedMessage, Iteration
from torch_gbp.inference.node import Bound, Node
from torch_gbp.inference.weights import WeightBelief

_TINY = 1e-300  # float64: what a precision of 0 is divided by, where the quotient is not used
_WEAK = 1e-6  # of the rest, times the prediction's variance: below, 1 - diag of the inverse would lose half of its digits


class JointNode(Node):
    """The factors y = f(W a + b) + e of a linear layer, those of a batch joined into one for each output.

    Inputs (n, i), outputs (n, o); memory o n^2. Its duals are damped, and so is the message to the inputs. Meant for the last
    layer: several joint layers in a row answer each other in full, and oscillate. Behind a basis, the weights stand on its
    features and P are the features' means; s and the messages to the inputs are those of the weights on the inputs.
    """

    def __init__(
        self,
        activation: Bound | None,
        weights: tuple[WeightBelief, ...],
        noise: float,
        prior: Message | None,
        basis: CosineBasis | None = None,
    ) -> None:
        self.activation, self.weights, self.noise, self.prior, self.basis = activation, weights, noise, prior, basis
        self.before = [_spread(weight) for weight in weights]
        self.dual = DampedMessage()

    def up(self, now: Iteration) -> None:
        self._look()
        (_, weight_var), *bias = self.before
        mean = self.features.expand(len(weight_var), -1, -1)
        gram = torch.bmm(mean * weight_var[:, None], mean.transpose(1, 2))  # (o, n, n), or one where all outputs share it
        self.gram = gram if not bias else gram + bias[0][1][:, None, None]
        self._solve()
        # Prediction of every output from the others: the posterior of f, with the entry's own site divided out.
        shift, left = (self.kernel @ self.score[:, :, None])[:, :, 0].t(), self._left()
        rest = 1 - left * self.sharp
        mean, variance = (shift - left * self.sharp * self.gap) / rest, left / rest
        self.upper.predict(self.prediction + mean.to(self.own), self.own + variance.to(self.own))
        self._send(now)

    def down(self, now: Iteration) -> None:
        self._look()
        self._solve()
        self._send(now)

    def _look(self) -> None:
        """Inputs, and the outputs' slopes and predictions before the batch, at the present beliefs."""
        self.input = inputs_mean, variance = self.lower.belief()
        self.features = mean = self._turned(inputs_mean)
        now, before = (_affine(mean, parts) for parts in ([w.mean for w in self.weights], [m for m, _ in self.before]))
        self.slope, bent = torch.ones_like(now), now
        if self.activation is not None:
            (bent, _), saved = self.activation.forward(now, torch.zeros_like(now))
            self.slope, _ = self.activation.backward(saved, self.slope, self.slope)
        inputs = 0.0 if variance is None else self.slope.square() * (variance @ self._weight().square().t())
        self.prediction = bent + self.slope * (before - now)
        if variance is not None and self.dual.parts is not None:
            self.prediction = self.prediction - inputs * self.dual.parts[0]
        self.own = inputs + self.noise + torch.zeros_like(now)

    def _solve(self) -> None:
        """r = K^-1 gap in float64, K = kernel + diag(1 / sharp); sharp is 0 where nothing is known of an output."""
        score, precision = (part.double() for part in self._rest())
        self.sharp, self.gap = precision, torch.where(precision > 0, score / precision.clamp_min(_TINY), 0.0)
        slope, root = self.slope.t().double(), precision.sqrt().t()
        self.kernel = self.gram.double() * slope[:, :, None] * slope[:, None, :]
        eye = torch.eye(len(precision), dtype=torch.float64, device=precision.device)
        inner = torch.cholesky_inverse(torch.linalg.cholesky(eye + self.kernel * root[:, :, None] * root[:, None, :]))
        self.known = 1 - _diagonal(inner)  # share of an output's variance that the rest takes away
        self.inverse = inner * root[:, :, None] * root[:, None, :]
        self.score = (self.inverse @ self.gap.t()[:, :, None])[:, :, 0]  # (o, n)

    def _left(self) -> Tensor:
        """Posterior variances of f, diag(C - C K^-1 C) = (1 - diag((1 + R^1/2 C R^1/2)^-1)) / R, C the kernel; (n, o)."""
        own = _diagonal(self.kernel)
        if bool((self.sharp * own < _WEAK).any()):
            return own - ((self.kernel @ self.inverse) * self.kernel).sum(2).t()
        return self.known / self.sharp

    def _rest(self) -> tuple[Tensor, Tensor]:
        """Score and precision of what is known of the outputs about the prediction, `own` its noise."""
        return self.upper.score((self.prediction, self.own))

    def _send(self, now: Iteration) -> None:
        """Weights from the damped duals; the message to the inputs."""
        (inputs_mean, variance), mean = self.input, self.features
        (score,) = self.dual.update([self.score.t().to(mean)], now, now.rate if now.number else 1.0, joined=True)
        steep = self.slope * score
        said = (lambda: steep.t() @ mean), (lambda: steep.sum(0))  # to the weights, to the biases
        for weight, (centre, spread), score_of in zip(self.weights, self.before, said, strict=False):
            if weight.learn:
                weight.mean = centre + spread * score_of()
        if variance is not None:
            matrix = self._weight()
            precision = (_diagonal(self.inverse).to(mean) * self.slope.square()) @ matrix.square()
            self.lower.receive(Message.centred(steep @ matrix, precision, inputs_mean), now, now.rate)

    def finish(self) -> None:
        """Variances of the weights, V - V^2 p' K^-1 p, in the precision that the marginal stores."""
        slope, mean = self.slope.t().double(), self.features.double()
        inner = self.inverse * slope[:, :, None] * slope[:, None, :]
        explained = ((inner @ mean) * mean).sum(1)
        for weight, (_, spread), share in zip(self.weights, self.before, (explained, inner.sum((1, 2))), strict=False):
            if weight.learn:
                sharp = (spread - spread.double().square() * share).reciprocal().to(spread)
                shared = weight.before.precision.numel() / sharp.numel()
                sharp = sharp.sum_to_size(weight.before.precision.shape) * shared
                weight.become(weight.mean, torch.maximum(sharp, weight.before.precision))

    def predicted(self, *means: Tensor) -> Tensor:
        output = _affine(self._turned(*means), [weight.mean for weight in self.weights])
        return output if self.activation is None else self.activation.forward(output, torch.zeros_like(output))[0][0]

    def _turned(self, mean: Tensor) -> Tensor:
        return mean if self.basis is None else self.basis.map(mean, None)[0]

    def _weight(self) -> Tensor:
        """Means of the weights on the inputs."""
        weight = self.weights[0].mean
        return weight if self.basis is None else self.basis.pull(weight)

    def damped(self) -> list[DampedMessage]:
        return [self.dual, self.lower.above]


def _spread(weight: WeightBelief) -> tuple[Tensor, Tensor]:
    """Mean and variance before the batch, the variance (1, i) where the outputs share it."""
    if weight.mean.ndim > 2:
        raise InvalidInput("joint factors are for linear layers", where="a convolution", fix='use covariance="diagonal"')
    mean = weight.before.information / weight.before.precision if weight.learn else weight.mean
    return mean, weight.variance


def _diagonal(matrices: Tensor) -> Tensor:
    """(o, n, n) -> (n, o)."""
    return matrices.diagonal(dim1=1, dim2=2).t()


def _affine(rows: Tensor, parts: list[Tensor]) -> Tensor:
    """rows W' (+ b)."""
    return rows @ parts[0].t() if len(parts) == 1 else torch.addmm(parts[1], rows, parts[0].t())
