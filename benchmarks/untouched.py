"""Data on which no default of torch_gbp was ever tuned: tables and digits that scikit-learn ships, and letters (notMNIST).

torch_gbp as it comes beside every rival, with its settings searched on a quarter of the training rows. Digits and letters have
been seen in other ways: the demo trains on digits, letters are an OOD set of the MNIST benchmarks. No default was chosen by their
labels.
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


def _letters(folder: Path) -> Rows:
    files = (folder / "notMNIST" / "raw" / f"t10k-{part}-ubyte" for part in ("images-idx3", "labels-idx1"))
    images, labels = (read_idx(path, axes) for path, axes in zip(files, (3, 1), strict=True))
    return images.unsqueeze(1).float(), labels.long()


def _perceptron(inputs: int, classes: int, epochs: int) -> Net:
    title = f"MLP {inputs}-64-64-{classes}"
    return Net(title, lambda: mlp(inputs, (64, 64), classes), [Plan(epochs, None, 16, 16)])


CASES: dict[str, Case] = {
    "wine": Case("wine", _table(datasets.load_wine), _perceptron(13, 3, 60)),
    "iris": Case("iris", _table(datasets.load_iris), _perceptron(4, 3, 60)),
    "cancer": Case("breast cancer", _table(datasets.load_breast_cancer), _perceptron(30, 2, 40)),
    "digits": Case("digits", _table(datasets.load_digits), _perceptron(64, 10, 30)),
    "letters_mlp": Case("notMNIST letters", _letters, Net("MLP 784-256-256-10", mlp, [Plan(10, None, 64, 32)])),
    "letters_lenet": Case("notMNIST letters", _letters, Net("LeNet-5", lenet5, [Plan(10, None, 64, 32)])),
}
CONTEST = Contest("untouched", trials, OF_FEW, race_costs, told)
