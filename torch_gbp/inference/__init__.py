"""Nodes: the factors and variables of a deep factor graph, and what they keep while one batch is looked at."""

from torch_gbp.nodes.filters import FilterBelief
from torch_gbp.nodes.joint import JointNode
from torch_gbp.nodes.latent import Latent
from torch_gbp.nodes.max_pool import MaxPoolNode
from torch_gbp.nodes.node import Bound, LinearNode, Node, ShapeNode, SingleNode
from torch_gbp.nodes.observation import ObservationNode
from torch_gbp.nodes.pace import Kept, Pace
from torch_gbp.nodes.schedules import Schedule, random_layers, sweeps
from torch_gbp.nodes.upsample import UpsampleNode
from torch_gbp.nodes.variable import Variable, normal_prior
from torch_gbp.nodes.weights import WeightBelief

__all__ = [
    "Bound",
    "FilterBelief",
    "JointNode",
    "Kept",
    "Latent",
    "LinearNode",
    "MaxPoolNode",
    "Node",
    "ObservationNode",
    "Pace",
    "Schedule",
    "ShapeNode",
    "SingleNode",
    "UpsampleNode",
    "Variable",
    "WeightBelief",
    "normal_prior",
    "random_layers",
    "sweeps",
]
