"""Fixed bases: known linear maps of the inputs to features, on which the weights of a layer stand."""

from torch_gbp.bases.basis import Basis
from torch_gbp.bases.cosine import CosineBasis
from torch_gbp.bases.inputs import InputBasis
from torch_gbp.bases.patch import PatchBasis

__all__ = ["Basis", "CosineBasis", "InputBasis", "PatchBasis"]
