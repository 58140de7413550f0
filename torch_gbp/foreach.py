"""torch's functions of lists of tensors, `torch._foreach_*`: one call for many small tensors, and on a GPU few kernels.

The optimizers of torch are made of them. They take lists of one length, or a number, or a list of numbers, in the place of a
second list; tensors of one device, dtype and shape side by side are fast, others are broadcast one by one. Names are torch's.

>>> from torch_gbp import foreach
>>> values = [torch.ones(2), torch.ones(3)]
>>> _ = foreach.mul_(values, [2.0, 3.0])
>>> values
[tensor([2., 2.]), tensor([3., 3., 3.])]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

_torch: Any = torch  # whose stubs do not export them
New: TypeAlias = Callable[..., list[Tensor]]
InPlace: TypeAlias = Callable[..., object]

div: New = _torch._foreach_div
mul: New = _torch._foreach_mul
neg: New = _torch._foreach_neg
norm: New = _torch._foreach_norm
sqrt: New = _torch._foreach_sqrt

add_: InPlace = _torch._foreach_add_
addcdiv_: InPlace = _torch._foreach_addcdiv_
addcmul_: InPlace = _torch._foreach_addcmul_
clamp_max_: InPlace = _torch._foreach_clamp_max_
clamp_min_: InPlace = _torch._foreach_clamp_min_
copy_: InPlace = _torch._foreach_copy_
lerp_: InPlace = _torch._foreach_lerp_
maximum_: InPlace = _torch._foreach_maximum_
mul_: InPlace = _torch._foreach_mul_
neg_: InPlace = _torch._foreach_neg_
pow_: InPlace = _torch._foreach_pow_
reciprocal_: InPlace = _torch._foreach_reciprocal_
sqrt_: InPlace = _torch._foreach_sqrt_
