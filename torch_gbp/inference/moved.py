"""The factor of a reshape, a selection or a scaling: every entry above is a known multiple of one entry below."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_gbp.gaussian import Message
from torch_gbp.inference.damping import Iteration
from torch_gbp.inference.maps import LinearMap, offset, pulled
from torch_gbp.inference.node import Node


class MovedNode(Node):
    """z_k = c_k a_i(k) + d_k exactly: what is known of z_k is (c eta - c R d, c^2 R) of a_i; nothing is damped or divided.

    `plain` is that z is a in its order (nn.Flatten).
    """

    def __init__(self, factor: LinearMap, plain: bool) -> None:
        self.factor, self.plain = factor, plain

    def up(self, now: Iteration) -> None:
        cavities = [edge.cavity_moments() for edge in self.lowers]
        self.like = [mean for mean, _ in cavities]
        moments, _ = self.factor.moments(cavities)
        self.upper.predict(*moments)

    def down(self, now: Iteration) -> None:
        rest = self.upper.rest()
        if rest is None:
            return
        assert self.upper.prediction is not None
        information, precision = (part.expand_as(self.upper.prediction[0]) for part in rest)
        if self.plain:
            shape = self.like[0].shape
            self.lower.replace(Message(information.reshape(shape), precision.reshape(shape)))
            return
        information = information - precision * offset(self.factor.run, self.like)
        for edge, message in zip(self.lowers, pulled(self.factor.run, self.like, information, precision), strict=True):
            edge.replace(Message(*message))

    def predicted(self, *means: Tensor) -> Tensor:
        return self.factor.moments([(mean, torch.zeros_like(mean)) for mean in means])[0][0]
