"""Building: the nodes of a recorded network, layer by layer, with noise and activations fused into the factor before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from torch_gbp.bases.cosine import CosineBasis
from torch_gbp.errors import MissingRule
from torch_gbp.factors import avg_pool, joint_conv, linearised, patch_conv
from torch_gbp.factors.upsample import upsample
from torch_gbp.autograd.bridge import Moments, linear_rule
from torch_gbp.inference.filters import FilterBelief
from torch_gbp.inference.joint import JointNode
from torch_gbp.inference.linear import LinearNode
from torch_gbp.inference.maps import CurvedMap, LinearMap, PlainMap, apart, is_linear, selects
from torch_gbp.inference.max_pool import MaxPoolNode
from torch_gbp.inference.moved import MovedNode
from torch_gbp.inference.node import Bound, FactorNode, Node, SummedNode
from torch_gbp.inference.record import Call, Operation, Value, no_node
from torch_gbp.inference.upsample import UpsampleNode
from torch_gbp.inference.weights import WeightBelief
from torch_gbp.layers import (
    GBPAdaptiveAvgPool2d,
    GBPAvgPool2d,
    GBPConv2d,
    GBPConvTranspose2d,
    GBPLeakyReLU,
    GBPLinear,
    GBPMaxPool2d,
    GBPSigmoid,
    GBPUpsample,
)
