"""Cutting a network into blocks: at named children, or into a number of blocks with equally many modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from torch import nn

from torch_gbp.errors import InvalidInput
from torch_gbp.errors.checks import require_count, require_kind, shown

Modules = nn.Sequential | Sequence[nn.Module]


def split_at(network: nn.Sequential, names: Sequence[str]) -> list[nn.Sequential]:
    """Blocks of an nn.Sequential, a new one beginning at each named child; they share the network's weights.

    Args:
        network: its children are run one after the other.
        names: names of children, in their order; the first child begins a block in any case.

    Raises:
        InvalidInput: a name that is no child, the first child, out of order, or named twice.

    >>> [len(block) for block in split_at(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), ["2"])]
    [2, 1]
    """
    require_kind("network", network, nn.Sequential, "split_at", fix="pass an nn.Sequential, or use split_equally")
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InvalidInput("names must be a list of children's names", where="split_at", got=shown(names), fix='use ["2", "4"]')
    children = dict(network.named_children())
    places = [list(children).index(name) if name in children else -1 for name in names]
    if not names or any(later <= earlier for earlier, later in pairwise([0, *places])):
        raise InvalidInput(
            "blocks begin at names of children, in their order and after the first child",
            where="split_at",
            got=f"{list(names)} of {list(children)}",
            cause="the name of a grandchild, or of a network's attribute",
            fix="give names of direct children, or a list of modules to split_equally",
        )
    return _cut(list(children.values()), places)


def split_equally(modules: Modules, count: int) -> list[nn.Sequential]:
    """`count` blocks of equally many modules (to rounding): block k ends at module round(k n / count).

    Args:
        modules: an nn.Sequential, or the ordered list of a network's stages, e.g. of a residual network
            [stem, *stage1, *stage2, head]; they are run one after the other.
        count: number of blocks, 1 to the number of modules.

    Raises:
        InvalidInput: fewer modules than blocks, or count below 1.

    >>> [len(block) for block in split_equally([nn.Identity() for _ in range(11)], 4)]
    [3, 3, 2, 3]
    """
    children: list[nn.Module] = list(modules) if isinstance(modules, Iterable) else [modules]
    if not all(isinstance(child, nn.Module) for child in children):
        raise InvalidInput("modules are needed", where="split_equally", got=shown(modules), fix="pass an nn.Sequential")
    count = require_count("count", count, "split_equally", fix="use 2")
    if count > len(children):
        raise InvalidInput(
            "every block needs at least one module",
            where="split_equally",
            got=f"{count} blocks of {len(children)} modules",
            cause="a network whose stages are nested in one module",
            fix="list the stages one by one, or ask for fewer blocks",
        )
    return _cut(children, [round(k * len(children) / count) for k in range(1, count)])


def _cut(modules: list[nn.Module], places: Sequence[int]) -> list[nn.Sequential]:
    return [nn.Sequential(*modules[start:end]) for start, end in pairwise([0, *places, len(modules)])]
