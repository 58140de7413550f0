"""Data on which no default of torch_gbp was ever tuned: tables and digits of scikit-learn, letters, UCI tables told in classes.

torch_gbp as it comes beside every rival, with its settings searched on a quarter of the training rows. Digits and letters have
been seen in other ways: the demo trains on digits, letters (notMNIST) are an OOD set of the MNIST benchmarks. Defaults of the
moment sweep were chosen by none of them; the longer steps of short means sweeps by rows of scikit-learn's four tables
(TUNING.md), by none of the UCI tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn import datasets
from torch import Tensor

from benchmarks.contest import Contest, race_costs
from benchmarks.methods import OF_FEW
from benchmarks.results import Request, Row
from benchmarks.tasks import QUICK_EPOCHS, QUICK_SCORED, SUBSET_SEED, Net, Plan, Split, Trial, limited
from examples.networks import lenet5, mlp
from lightning_modules.data.idx import read_idx
from lightning_modules.data.tables import load_uci

TEST, HELD_OUT = 1 / 3, 1 / 4  # shares of all rows, and of the training rows in a search
QUICK_LIMIT = 100
Rows = tuple[Tensor, Tensor]


class Case(NamedTuple):
    """Rows (n, ...) with their labels from the data folder, the network that learns them, and how long it takes."""

    data: str
    load: Callable[[Path], Rows]
    net: Net

    def plan(self, request: Request) -> Plan:
        """The network's own plan, changed by --quick, --limit and --passes."""
        plan = self.net.plans[0]
        if request.quick:
            plan = plan._replace(epochs=QUICK_EPOCHS, limit=QUICK_LIMIT)
        return plan._replace(limit=request.limit or plan.limit, epochs=request.epochs or plan.epochs)


def split(rows: Rows, held_out: bool, quick: bool = False) -> Split:
    """A fixed third of the rows is scored, or with `held_out` a quarter of the others; inputs standardised by what trains.

    Every column of a table has a mean and a deviation of its own, all pixels of images have one.
    """
    x, y = rows
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SUBSET_SEED))
    scored, train = order.split([round(TEST * len(x)), len(x) - round(TEST * len(x))])
    if held_out:
        scored, train = train.split([round(HELD_OUT * len(train)), len(train) - round(HELD_OUT * len(train))])
    axes = (0,) if x.ndim == 2 else tuple(range(x.ndim))
    mean, std = x[train].mean(axes), x[train].std(axes)
    std = std.where(std > 0, 1.0)  # a pixel that is dark in all training rows is left as it is in the others
    scored = scored[: QUICK_SCORED if quick else None]
    return Split((x[train] - mean) / std, y[train], (x[scored] - mean) / std, y[scored], {})


def trials(request: Request, held_out: bool) -> Iterator[Trial]:
    """The data sets and seeds of the call."""
    for name in request.asked(CASES):
        case = CASES[name]
        plan, data = case.plan(request), split(case.load(request.data_dir), held_out, request.quick)
        for seed in request.runs:
            yield Trial(name, case.net, plan, limited(data, plan.limit), seed)


def told(request: Request) -> Row:
    """Settings for the result file."""
    return {"plans": {name: CASES[name].plan(request)._asdict() for name in request.asked(CASES)}, "test": TEST}


def _table(load: Callable[..., object]) -> Callable[[Path], Rows]:
    def rows(_: Path) -> Rows:
        x, y = load(return_X_y=True)  # type: ignore[misc]
        return torch.as_tensor(x).float(), torch.as_tensor(y).long()

    return rows


def _uci(name: str, quarters: bool = True) -> Callable[[Path], Rows]:
    """A UCI table whose classes are the quarters of its target, or the target's values themselves, from the smallest on."""

    def rows(folder: Path) -> Rows:
        table = load_uci(folder, name)
        x, y = table.x.float(), table.y.flatten()
        if not quarters:
            return x, torch.unique(y, return_inverse=True)[1]
        return x, torch.bucketize(y, y.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=y.dtype)))

    return rows


def _letters(folder: Path) -> Rows:
    files = (folder / "notMNIST" / "raw" / f"t10k-{part}-ubyte" for part in ("images-idx3", "labels-idx1"))
    images, labels = (read_idx(path, axes) for path, axes in zip(files, (3, 1), strict=True))
    return images.unsqueeze(1).float(), labels.long()


def _perceptron(inputs: int, classes: int, epochs: int, batch: int = 16) -> Net:
    title = f"MLP {inputs}-64-64-{classes}"
    return Net(title, lambda: mlp(inputs, (64, 64), classes), [Plan(epochs, None, batch, batch)])


CASES: dict[str, Case] = {
    "wine": Case("wine", _table(datasets.load_wine), _perceptron(13, 3, 60)),
    "iris": Case("iris", _table(datasets.load_iris), _perceptron(4, 3, 60)),
    "cancer": Case("breast cancer", _table(datasets.load_breast_cancer), _perceptron(30, 2, 40)),
    "digits": Case("digits", _table(datasets.load_digits), _perceptron(64, 10, 30)),
    "letters_mlp": Case("notMNIST letters", _letters, Net("MLP 784-256-256-10", mlp, [Plan(10, None, 64, 32)])),
    "letters_lenet": Case("notMNIST letters", _letters, Net("LeNet-5", lenet5, [Plan(10, None, 64, 32)])),
    "boston": Case("Boston housing, quarters", _uci("bostonHousing"), _perceptron(13, 4, 40)),
    "energy": Case("energy, quarters", _uci("energy"), _perceptron(8, 4, 40)),
    "yacht": Case("yacht, quarters", _uci("yacht"), _perceptron(6, 4, 60)),
    "quality": Case("wine quality", _uci("wine-quality-red", quarters=False), _perceptron(11, 6, 30)),
    "kin8nm": Case("kin8nm, quarters", _uci("kin8nm"), _perceptron(8, 4, 15, 64)),
}
CONTEST = Contest("untouched", trials, OF_FEW, race_costs, told)
