"""The table of widenings: NLL and ECE of every network, by likelihood power and widening."""

from __future__ import annotations

from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row
from benchmarks.summary import SMALLEST_SET
from benchmarks.widening import CALIBRATED

NETS = {"mlp": "MLP", "lenet": "LeNet-5"}
DATA = {"mnist": "MNIST", "lowdata": "MNIST", "fashion": "FashionMNIST"}


def table(rows: list[Row]) -> str:
    """NLL / ECE in per cent, means over the seeds; of the calibrated ones the widening too."""
    if not rows:
        return NOT_RUN
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cases = list(dict.fromkeys((row["data"], row["net"], row["limit"]) for row in rows))
    headings = [f"{DATA[data]}, {NETS[net]}" + f", {limit} images" * (limit < SMALLEST_SET) for data, net, limit in cases]
    return grid(["power, widening", *headings], [[name, *(_cell(rows, name, case) for case in cases)] for name in methods])


def _cell(rows: list[Row], method: str, case: tuple[str, str, int]) -> str:
    own = [row for row in rows if (row["method"], row["data"], row["net"], row["limit"]) == (method, *case)]
    scores = f"{number(own, 'nll', 4, spread=False)} / {number(own, 'ece', 1, 100, spread=False)}"
    return f"{scores} ({number(own, 'widening', 1, spread=False)})" if CALIBRATED in method else scores
