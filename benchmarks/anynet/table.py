"""The table of `anynet`: a line for every network and method."""

from __future__ import annotations

from benchmarks.anynet.cases import CASES
from benchmarks.anynet.entrants import ENTRANTS, SAMPLED
from benchmarks.markdown import NOT_RUN, grid, number
from benchmarks.report import Row

HEADINGS = [
    "network", "method", "accuracy", "NLL", "ECE", "NLL with a held-out temperature", "ECE with it", "step", "step / AdamW's",
]  # fmt: skip
OURS = {name for pair in SAMPLED.items() for name in pair}


def table(rows: list[Row]) -> str:
    """Mean and standard error over the seeds, in the order of the cases and of the methods."""
    if not rows:
        return NOT_RUN
    found = {(row["net"], row["limit"], row["epochs"]) for row in rows}
    cases = sorted(found, key=lambda case: (list(CASES).index(case[0]), *case[1:]))
    lines = [_line(rows, case, method) for case in cases for method in ENTRANTS]
    return grid(HEADINGS, [line for line in lines if line])


def _line(rows: list[Row], case: tuple[str, int, int], method: str) -> list[str]:
    own = [row for row in rows if (row["net"], row["limit"], row["epochs"], row["method"]) == (*case, method)]
    if not own:
        return []
    title = ENTRANTS[method].title
    return [
        case_title(*case),
        f"**{title}**" if method in OURS else title,
        number(own, "accuracy", 2, 100, unit=" %"),
        number(own, "nll", 4),
        number(own, "ece", 4),
        number(own, "nll_tempered", 4),
        number(own, "ece_tempered", 4),
        number(own, "step_seconds", 1, 1e3, spread=False, unit=" ms"),
        number(own, "step_ratio", 2, spread=False, unit="x"),
    ]


def case_title(name: str, limit: int, epochs: int) -> str:
    """The network, its data, how many examples and passes.

    >>> case_title("resnet8", 10_000, 1)
    'ResNet-8, BatchNorm; CIFAR-10, 16 x 16; 10,000 examples, 1 pass'
    """
    case = CASES[name]
    return f"{case.net.title}; {case.data}; {limit:,} examples, {epochs} pass{'es' if epochs > 1 else ''}"
