"""Tables from the committed result files: `python -m benchmarks.tables` writes them, nothing is typed by hand.

A table stands between `<!-- results: NAME -->` and `<!-- end -->` and is made from benchmarks/results/NAME.json;
`<!-- results: NAME 640 -->` takes the rows of 640 training images alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import anynet_tables, frugal_tables, graph_tables, local_tables, other_tables, provenance, shift_tables, untouched
from benchmarks.checks import tables as checks
from benchmarks.checks import thesis_tables
from benchmarks.markdown import ACCURACY, DATA, ECE, NLL, SMALLEST_SET, Column, Line, cell, crossed, distinct, number, passes
from benchmarks.methods import METHODS, OURS
from benchmarks.results import RESULTS, Row, read
from benchmarks.study import CALIBRATED
from benchmarks.tasks import TASKS

ROOT = Path(__file__).parent.parent
NOT_RUN = "(not run yet)\n"
NETS = {"mlp": "MLP", "lenet": "LeNet-5"}
_PLACE = re.compile(r"(<!-- results: (\w+)(?: (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def case_title(name: str, net: str, limit: int, epochs: int) -> str:
    """The network, the passes, and the number of images where it is not the whole data set.

    >>> case_title("mnist", "onepass", 60000, 1), case_title("lowdata", "lenet", 640, 60)
    ('conv 16-32-100, 1 pass', 'LeNet-5, 640 images, 60 passes')
    """
    return f"{_nets(name)[net]}, {f'{limit:,} images, ' if limit < SMALLEST_SET else ''}{passes(epochs)}"


def _nets(name: str) -> dict[str, str]:
    """Titles of a comparison's networks."""
    if name == "untouched":
        return {net: f"{case.data}: {case.net.title}" for net, case in untouched.CASES.items()}
    return {net: own.title for net, own in TASKS[name].nets.items()}


def comparison(name: str, rows: list[Row]) -> str:
    """Every network and method of an image task, or of data that nobody tuned on."""
    ood_sets = TASKS[name].ood if name in TASKS else {}
    cases = distinct(rows, "net", "limit", "epochs")
    titles = {method: entrant.title for method, entrant in METHODS.items()}
    titles |= {method: f"**{titles[method]}**" for method in OURS}
    lines = [
        Line([case_title(name, *case), title], dict(zip(("net", "limit", "epochs"), case, strict=True)) | {"method": method})
        for case in cases
        for method, title in titles.items()
    ]
    tempered = "with a held-out temperature"
    columns = [
        Column("accuracy", ACCURACY),
        Column("NLL", NLL),
        Column(f"NLL {tempered}", cell("nll_tempered"), if_any="nll_tempered"),
        Column("ECE", ECE),
        Column(f"ECE {tempered}", cell("ece_tempered"), if_any="ece_tempered"),
        *(Column(f"OOD AUROC {images}", cell(key, 3)) for key, images in ood_sets.items()),
        Column("training / AdamW's", cell("train_ratio", 2, unit="x")),
        Column("predict", cell("predict_seconds", 2, unit=" s", spread=False)),
        Column("memory", cell("peak_memory_mb", 1, unit=" MB", spread=False)),
    ]
    return crossed(rows, ["net", "method"], lines, columns)


def ablation(rows: list[Row]) -> str:
    """A line for every variant of the recipe, three scores for every case."""
    columns = []
    for net, limit in distinct(rows, "net", "limit"):
        title = NETS[net] if limit >= SMALLEST_SET else f"{NETS[net]}, {limit} images"
        cells = {"accuracy": ACCURACY, "NLL": NLL, "ECE": ECE}
        columns += [Column(f"{title}: {score}", own, {"net": net, "limit": limit}) for score, own in cells.items()]
    return crossed(rows, ["variant"], _methods(rows), columns)


def widening(rows: list[Row]) -> str:
    """NLL / ECE in per cent of every network by likelihood power and widening; of the calibrated ones the widening too."""

    def told(own: list[Row]) -> str:
        scores = f"{number(own, 'nll', 4, spread=False)} / {number(own, 'ece', 1, 100, spread=False)}"
        calibrated = own and CALIBRATED in own[0]["method"]
        return f"{scores} ({number(own, 'widening', 1, spread=False)})" if calibrated else scores

    columns = []
    for data, net, limit in distinct(rows, "data", "net", "limit"):
        title = f"{DATA[data]}, {NETS[net]}" + f", {limit} images" * (limit < SMALLEST_SET)
        columns.append(Column(title, told, {"data": data, "net": net, "limit": limit}))
    return crossed(rows, ["power, widening"], _methods(rows), columns)


OF_ROWS: dict[str, Callable[[list[Row]], str]] = {
    **{name: partial(comparison, name) for name in (*TASKS, "untouched")},
    **frugal_tables.OF_ROWS,
    "ablation": ablation,
    "active": other_tables.active_learning,
    "anynet": anynet_tables.any_network,
    "anynet_means": anynet_tables.verdicts_of_means,
    "anynet_verdicts": anynet_tables.verdicts,
    "continual": other_tables.continual_tasks,
    "continual_search": other_tables.continual_search,
    "corruptions": shift_tables.corrupted,
    "coverage": checks.coverage,
    "graph_ablation": graph_tables.ablation,
    "graph_mnist": graph_tables.one_pass,
    "graph_mnist_search": graph_tables.search,
    "graph_video": other_tables.denoised,
    "local": local_tables.compared,
    "local_ablation": local_tables.compared,
    "local_feedback": local_tables.feedback,
    "local_search": local_tables.search,
    "lowdata": partial(frugal_tables.few_images, partial(comparison, "lowdata")),
    "ood": shift_tables.detection,
    "posterior": checks.distances,
    "posterior_reference": checks.reference,
    "robust": checks.robust_table,
    "step_times": other_tables.step_times,
    "synthetic": checks.synthetic,
    "tabular": other_tables.shipped_tables,
    "thesis": thesis_tables.accuracies,
    "prior_predictive": thesis_tables.prior_predictive,
    "thesis_largest": thesis_tables.largest,
    "thesis_times": thesis_tables.times,
    "thesis_scores": thesis_tables.scores,
    "thesis_widths": thesis_tables.widths,
    "uci": other_tables.uci_table,
    "ways": checks.ways_of_predicting,
    "widening": widening,
}
FILE_OF = {
    "anynet_means": "anynet",
    "anynet_verdicts": "anynet",
    "thesis_scores": "thesis",
    "thesis_widths": "thesis",
    "thesis_largest": "thesis_times",
}  # tables of another table's rows
OF_SETTINGS: dict[str, Callable[[list[Row], Row], str]] = {
    "graph_regression": other_tables.fitted_curve,
    "graph_xor": other_tables.xor,
}


def table(name: str, limit: int | None = None, folder: Path = RESULTS) -> str:
    """The table of a result file, or of all of them: `runs`."""
    if name == "runs":
        return provenance.runs(folder)
    path = folder / f"{FILE_OF.get(name, name)}.json"
    content = read(path) if path.is_file() else {"rows": [], "settings": {}}
    rows = [row for row in content["rows"] if limit in (None, row["limit"])]
    if not rows:
        return NOT_RUN
    return OF_SETTINGS[name](rows, content["settings"]) if name in OF_SETTINGS else OF_ROWS[name](rows)


def places() -> list[Path]:
    """The texts with tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]


def fill(text: str) -> str:
    """The text with every table made anew."""
    return _PLACE.sub(lambda place: place[1] + table(place[2], int(place[3]) if place[3] else None) + place[4], text)


def _methods(rows: list[Row]) -> list[Line]:
    return [Line([method], {"method": method}) for (method,) in distinct(rows, "method")]


if __name__ == "__main__":
    for path in places():
        path.write_text(fill(path.read_text()))
