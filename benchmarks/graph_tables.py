"""The tables of deep factor graphs on images: one pass beside rivals and published figures, the rivals' settings, and studies."""

from __future__ import annotations

from benchmarks import graph_images
from benchmarks.choice import BUILT_IN
from benchmarks.graph_rivals import RIVALS
from benchmarks.markdown import DATA, FULL, PERCENT, Cell, Column, Line, cell, crossed
from benchmarks.results import Row, matching


def one_pass(rows: list[Row]) -> str:
    """A line for each data set and number of images: accuracies in percent by method, those published, processor time."""
    present = {method: title for method, title in graph_images.TITLES.items() if matching(rows, method=method)}
    columns = [Column(title, _of_rival if method in RIVALS else PERCENT, {"method": method}) for method, title in present.items()]
    columns += [Column(f"published: {title}", _published(own)) for title, own in graph_images.PUBLISHED.items()]
    columns.append(Column("factor graph, CPU seconds", cell("processor_seconds", 0), {"method": "graph"}))
    return crossed(rows, ["data", "images"], _cases(rows), columns)


def _of_rival(own: list[Row]) -> str:
    """Its accuracy, marked where its settings are those of the built-in defaults."""
    searched = all(row.get("chosen_by", BUILT_IN) != BUILT_IN for row in own)
    return PERCENT(own) + ("" if searched else " *")


def _published(figures: dict[str, str]) -> Cell:
    """Figures by data set, of all its images."""
    return lambda own: figures.get(own[0]["net"], "-") if own[0]["limit"] >= FULL else "-"


def _cases(rows: list[Row]) -> list[Line]:
    sizes = [(name, limit) for name in DATA for limit in sorted({row["limit"] for row in matching(rows, net=name)})]
    return [Line([DATA[name], f"{limit:,}"], {"net": name, "limit": limit}) for name, limit in sizes]


def search(rows: list[Row]) -> str:
    """For each data set and number of images the range of held-out accuracies over a rival's settings, and the best of them."""

    def told(own: list[Row]) -> str:
        if not own:
            return "-"
        worst, *_, best = sorted(own, key=lambda row: row["accuracy"])
        settings = ", ".join(f"{name} {value:g}" for name, value in best["settings"].items())
        return f"{100 * worst['accuracy']:.2f} to {100 * best['accuracy']:.2f} ({len(own)}): {settings}"

    columns = [Column(graph_images.TITLES[method], told, {"method": method}) for method in RIVALS]
    return crossed(rows, ["data", "images"], _cases(rows), columns)


def ablation(rows: list[Row]) -> str:
    """A line for each variant, two columns for each data set: accuracy in percent, and NLL."""
    columns = []
    for name, limit in graph_images.ABLATION_LIMITS.items():
        if matching(rows, net=name):
            heading = f"{DATA[name]}, {limit:,}"
            columns.append(Column(f"{heading}: accuracy", PERCENT, {"net": name}))
            columns.append(Column(f"{heading}: NLL", cell("nll", 3), {"net": name}))
    lines = [Line([variant], {"settings": {"variant": variant}}) for variant in graph_images.VARIANTS]
    return crossed(rows, [""], lines, columns)
