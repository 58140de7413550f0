"""The tables of block-local learning: methods beside published figures, rates searched, and what the feedback adds."""

from __future__ import annotations

from benchmarks import local_learning, study
from benchmarks.markdown import ACCURACY, DATA, NLL, Column, Line, cell, crossed, distinct, grid, passes
from benchmarks.results import Row, matching


def compared(rows: list[Row]) -> str:
    """A line for each data set and method of block-local learning, or variant of it."""
    titles = {name: entrant.title for name, entrant in local_learning.ENTRANTS.items()}
    lines = []
    for data, limit, epochs, method, blocks in distinct(rows, "data", "limit", "epochs", "method", "blocks"):
        case = f"{DATA[data]}, {limit:,} images, {passes(epochs)}"
        own = {"data": data, "limit": limit, "epochs": epochs, "method": method, "blocks": blocks}
        lines.append(Line([case, titles.get(method) or method, str(blocks)], own))
    columns = [
        Column("accuracy", ACCURACY),
        Column("NLL", NLL),
        *([Column("published, ResNet-50", _published)] if any(row["method"] in titles for row in rows) else []),
        Column("activations kept", cell("activation_mb", 1, unit=" MB", spread=False)),
        Column("peak memory", cell("peak_memory_mb", 1, unit=" MB", spread=False)),
        Column("training", cell("train_seconds", 0, unit=" s", spread=False)),
    ]
    return crossed(rows, ["data", "method", "blocks"], lines, columns)


def _published(own: list[Row]) -> str:
    return local_learning.PUBLISHED.get(own[0]["data"], {}).get(own[0]["method"], "-")


def search(rows: list[Row]) -> str:
    """One line for every method, its held-out accuracy at every rate, the best in bold."""
    best = {row["method"]: max(own["accuracy"] for own in matching(rows, method=row["method"])) for row in rows}

    def told(own: list[Row]) -> str:
        return "-" if not own else f"**{ACCURACY(own)}**" if own[0]["accuracy"] == best[own[0]["method"]] else ACCURACY(own)

    rates = sorted({row["settings"]["lr"] for row in rows})
    columns = [Column(f"rate {rate:g}", told, {"settings": {"lr": rate}}) for rate in rates]
    lines = [Line([local_learning.ENTRANTS[method].title], {"method": method}) for (method,) in distinct(rows, "method")]
    return crossed(rows, ["method"], lines, columns)


def feedback(rows: list[Row]) -> str:
    """A line for each kind of heads: scores without and with feedback, and what it adds within a seed."""
    lines = []
    for name in study.HEADS:
        told = matching(rows, method=f"{name}_feedback")
        pairs = [(one, other) for one in matching(rows, method=name) for other in matching(told, seed=one["seed"])]
        if pairs:
            without, heard = [one for one, _ in pairs], [other for _, other in pairs]
            added = [{key: other[key] - one[key] for key in ("accuracy", "nll")} for one, other in pairs]
            scores = [cell(own) for cell in (ACCURACY, NLL) for own in (without, heard, added)]
            lines.append([name.replace("_", " "), str(len(pairs)), *scores])
    parts = "without feedback", "with feedback", "added"
    return grid(["heads", "seeds", *(f"{score} {part}" for score in ("accuracy", "NLL") for part in parts)], lines)
