"""The idx file format of MNIST and its relatives, as written by the MNIST authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torch_gbp.errors import InvalidInput

_UNSIGNED_BYTES = 0x08


def read_idx(path: Path, axes: int) -> Tensor:
    """Reads an idx file of unsigned bytes: magic (0, 0, type, axes), each size as big-endian int32, then the bytes.

    Raises:
        InvalidInput: no such file, another type or number of axes, or fewer bytes than the header says.
    """
    if not path.is_file():
        raise InvalidInput(
            "an idx file is missing", where=str(path), cause="another data_dir, or a packed file", fix="unpack it there"
        )
    content = path.read_bytes()
    if content[:4] != bytes([0, 0, _UNSIGNED_BYTES, axes]):
        raise InvalidInput(
            f"not an idx file of unsigned bytes with {axes} axes",
            where=str(path),
            got=f"first bytes {content[:4].hex(' ')}",
            cause="a file that is still packed, or labels in place of images",
            fix="unpack it, or check the name",
        )
    sizes, start = np.frombuffer(content, ">i4", axes, 4), 4 + 4 * axes
    if len(content) - start != sizes.prod(dtype=np.int64):
        raise InvalidInput(
            "the file's length does not fit its header",
            where=str(path),
            got=f"{len(content) - start} bytes for sizes {sizes.tolist()}",
            cause="a download that broke off",
            fix="fetch it again",
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).copy()).reshape(*map(int, sizes))
