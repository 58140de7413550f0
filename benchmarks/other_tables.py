"""The tables of regression, of active learning, of the video, and of two small factor graphs."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import numpy

from benchmarks import active, anynet, tabular, uci, video
from benchmarks.continual_methods import ENTRANTS
from benchmarks.continual_tasks import SCENARIOS
from benchmarks.markdown import ACCURACY, Cell, Column, Line, cell, crossed, distinct, grid, number
from benchmarks.results import Row, matching


def uci_table(rows: list[Row]) -> str:
    """Both scores of every set, mean and standard error over the splits, beside what others have published."""
    published = json.loads((Path(__file__).parent / "published" / "uci.json").read_text())["methods"]
    lines, ours = [], "torch_gbp"
    for heading, key, sign in (("RMSE", "rmse", -1), ("log-likelihood", "log_likelihood", 1)):
        found = {name: own for name in uci.FOLDERS if (own := matching(rows, net=name))}
        for name in uci.FOLDERS:
            own, others = found.get(name, []), [f"{method[key][name]:g}" for method in published.values()]
            lines.append([heading, name, f"{len(own)}", f"**{number(own, key)}**", *others])
        wins = [
            [sign * mean(row[key] for row in own) >= sign * told[key][n] for n, own in found.items()]
            for told in published.values()
        ]
        lines.append([heading, f"{ours} at least as good on", "", "", *(f"{sum(own)} of {len(own)}" for own in wins)])
    return grid(["score", "set", "splits", ours, *published], lines)


def shipped_tables(rows: list[Row]) -> str:
    """Every method, accuracy (RMSE) and NLL of every table, mean and standard error over the folds, and seconds to fit."""
    columns = []
    for name, shipped in tabular.TABLES.items():
        score = cell("accuracy", 1, 100, " %") if shipped.classes else cell("rmse", 1)
        columns += [
            Column(f"{name}: {'accuracy' if shipped.classes else 'RMSE'}", score, {"net": name}),
            Column(f"{name}: NLL", cell("nll", 3), {"net": name}),
        ]
    columns.append(Column("fit, seconds", lambda own: number(own, "train_seconds", 1, spread=False)))
    titles = {method: f"**{title}**" if method == "gbp" else title for method, title in tabular.TITLES.items()}
    return crossed(rows, ["method"], [Line([title], {"method": method}) for method, title in titles.items()], columns)


def step_times(rows: list[Row]) -> str:
    """A step of AdamW and of torch_gbp for every network."""
    lines = [
        Line([_timed(net), f"{limit}", f"{matching(rows, net=net)[0]['weights']:,}"], {"net": net, "limit": limit})
        for net, limit in distinct(rows, "net", "limit")
    ]
    seconds, ratio = cell("step_seconds", 1, 1e3, " ms", spread=False), cell("step_ratio", 2, unit="x", spread=False)
    columns = [
        Column("AdamW", seconds, {"method": "adamw"}),
        Column("torch_gbp", seconds, {"method": "gbp"}),
        Column("torch_gbp / AdamW", ratio, {"method": "gbp"}),
        Column("AdamW's memory", cell("peak_memory_mb", 0, unit=" MB", spread=False), {"method": "adamw"}, "peak_memory_mb"),
        Column("torch_gbp's memory", cell("peak_memory_mb", 0, unit=" MB", spread=False), {"method": "gbp"}, "peak_memory_mb"),
    ]
    return crossed(rows, ["network", "batch", "weights"], lines, columns)


def _timed(net: str) -> str:
    """The network and the data whose size its inputs have; of a large one its name in torchvision."""
    case = anynet.CASES.get(net)
    return f"{case.net.title}; {case.data}" if case else f"{net}; 224 x 224"


def denoised(rows: list[Row]) -> str:
    """PSNR at frame 5 over the seeds, beside the published one, and means over the frames of the seeds that saw most."""

    def longest(own: list[Row]) -> list[Row]:
        most = max(len(matching(own, seed=row["seed"])) for row in own)
        return [row for row in own if len(matching(own, seed=row["seed"])) == most]

    columns = [
        Column("PSNR, frame 5", cell("psnr", 2), {"limit": video.SHOWN_FRAME}),
        Column("published", lambda own: str(video.PUBLISHED[own[0]["method"].removesuffix(video.JOINT)])),
        Column("mean PSNR", lambda own: number(longest(own), "psnr", 2, spread=False)),
        Column("frames", lambda own: str(len({row["limit"] for row in longest(own)}))),
        Column("CPU seconds a frame", lambda own: number(longest(own), "cpu_seconds", 1, spread=False)),
    ]
    return crossed(rows, ["method"], [Line([video.TITLES[method]], {"method": method}) for method in video.METHODS], columns)


def active_learning(rows: list[Row]) -> str:
    """Labels at the goal, a bound where a run ends before it, and accuracies on the way."""

    def at_goal(own: list[Row]) -> str:
        if all("labels_to_goal" in row for row in own):
            return number(own, "labels_to_goal", 0)
        reached = [f"{row['labels_to_goal']:.0f}" for row in own if "labels_to_goal" in row]
        return ", ".join([*reached, *(f"> {row['labels'][-1]}" for row in own if "labels_to_goal" not in row)])

    def accuracy(labels: int) -> Cell:
        def told(own: list[Row]) -> str:
            there = [row for row in own if row["labels"][-1] >= labels]
            between = [{"accuracy": float(numpy.interp(labels, row["labels"], row["accuracy"]))} for row in there]
            return number(between, "accuracy", 1, 100)

        return told

    columns = [
        Column("seeds", lambda own: str(len(own))),
        Column("labels to 95 %", at_goal),
        *(Column(f"accuracy with {labels}, %", accuracy(labels)) for labels in (100, 200, 300)),
    ]
    return crossed(
        rows, ["method, way of choosing"], [Line([title], {"method": way}) for way, title in active.WAYS.items()], columns
    )


def toy(scores: list[Column], rows: list[Row], settings: Row) -> str:
    """Summed messages beside exact messages on every edge."""
    lines = []
    for method, title in {"graph_exact": "exact messages", "graph": "summed messages"}.items():
        if method in settings.get("methods", {}):
            pace = settings["methods"][method]
            weights = "" if pace["weight_damping"] is None else f" (weights {pace['weight_damping']:g})"
            told = f"{pace['iterations']}, {pace['damping']:g}{weights}, {pace['dropout']:g}"
            lines.append(Line([title, told, str(len(matching(rows, method=method)))], {"method": method}))
    columns = [*scores, Column("CPU seconds", cell("processor_seconds", 1))]
    return crossed(rows, ["method", "iterations, damping, dropout", "seeds"], lines, columns)


def xor(rows: list[Row], settings: Row) -> str:
    """How many seeds have all four points right, and how the grid's classes agree."""
    columns = [
        Column("seeds with all 4 points right", lambda own: f"{sum(row['corners'] == 4 for row in own)} of {len(own)}"),
        Column("grid, class of the nearest point", cell("accuracy", 1, 100, " %")),
        Column("grid, other class than by exact messages", cell("disagreement", 2, 100, " %")),
    ]
    return toy(columns, rows, settings)


def fitted_curve(rows: list[Row], settings: Row) -> str:
    """Error against the true function, and distance from the curve of exact messages."""
    exact = {row["seed"]: row["rmse"] for row in matching(rows, method="graph_exact")}
    rows = [row | {"ratio": row["rmse"] / exact[row["seed"]]} for row in rows]
    columns = [
        Column("RMSE to the true function", cell("rmse")),
        Column("by exact messages = 1", cell("ratio", 2)),
        Column("rms distance from the curve by exact messages", cell("difference")),
    ]
    return toy(columns, rows, settings)


def continual_tasks(rows: list[Row]) -> str:
    """A line for each sequence of tasks and method: what is known in the end, of the worst task too, and what was forgotten."""
    columns = [
        Column("seeds", lambda own: str(len(own))),
        Column("strength and the like", lambda own: _settings(own[0])),
        Column("accuracy in the end", ACCURACY),
        Column("worst task", cell("lowest", 2, 100, " %")),
        Column("forgotten", cell("forgotten", 2, 100, " %")),
    ]
    return crossed(rows, ["tasks", "method"], _continual_lines(rows), columns)


def continual_search(rows: list[Row]) -> str:
    """Held-out accuracy of every setting."""
    lines = []
    for line in _continual_lines(rows):
        found = matching(rows, **line.own)
        best = max(row["accuracy"] for row in found)
        told = ((_settings(row), f"{100 * row['accuracy']:.2f} %", row["accuracy"] == best) for row in found)
        lines.append([*line.titles, ", ".join(f"{key}: **{value}**" if top else f"{key}: {value}" for key, value, top in told)])
    return grid(["tasks", "method", "accuracy in the end"], lines)


def _continual_lines(rows: list[Row]) -> list[Line]:
    titles = {name: f"**{entrant.title}**" if name == "gbp" else entrant.title for name, entrant in ENTRANTS.items()}
    order = [(net, method) for net in SCENARIOS for method in ENTRANTS]
    found = sorted(
        distinct(rows, "net", "epochs", "method"),
        key=lambda case: (list(SCENARIOS).index(case[0]), case[1], order.index(case[::2])),
    )
    return [
        Line([_sequence(net, epochs), titles[method]], {"net": net, "epochs": epochs, "method": method})
        for net, epochs, method in found
    ]


def _sequence(net: str, epochs: int) -> str:
    """Title of a sequence of tasks, with the passes over each if there are several."""
    return SCENARIOS[net].title + (f", {epochs} passes each" if epochs > 1 else "")


def _settings(row: Row) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in row["settings"].items()) or "-"
