"""README tables from the committed result files: `python -m benchmarks.tables` writes them, nothing is typed by hand.

A table stands between `<!-- results: NAME -->` and `<!-- end -->` and is made from benchmarks/results/NAME.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parent.parent
NAMES = {"mlp": "MLP 784-256-256-10", "lenet": "LeNet-5", "gbp": "**torch_gbp**", "adamw": "AdamW"}
HEADER = """\
| net | method | accuracy | NLL | ECE | OOD AUROC | training | predict 10,000 | memory |
|---|---|---|---|---|---|---|---|---|"""
_PLACE = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(name: str) -> str:
    """Markdown table of a result file: mean of the seeds, times and memory also as multiples of AdamW's."""
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    lines = [HEADER]
    for net in dict.fromkeys(row["net"] for row in rows):
        chosen = {method: [r for r in rows if (r["net"], r["method"]) == (net, method)] for method in ("gbp", "adamw")}
        lines += [_line(net, method, runs, chosen["adamw"]) for method, runs in chosen.items()]
    return "\n".join(lines) + "\n"


def fill(text: str) -> str:
    """The text with every table made anew."""
    return _PLACE.sub(lambda place: place[1] + table(place[2]) + place[3], text)


def _line(net: str, method: str, runs: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> str:
    def score(column: str) -> float:
        return mean(run[column] for run in runs)

    def cost(column: str, unit: str, digits: int) -> str:
        ratio = score(column) / mean(run[column] for run in baseline)
        return f"{score(column):.{digits}f} {unit}" + (f" ({ratio:.2f}x)" if runs is not baseline else "")

    passes = f"{NAMES[net]}, {runs[0]['epochs']} passes"
    scores = f"{100 * score('accuracy'):.2f} % | {score('nll'):.4f} | {score('ece'):.4f} | {score('ood_auroc'):.3f}"
    costs = f"{cost('train_seconds', 's', 1)} | {cost('predict_seconds', 's', 3)} | {cost('peak_memory_mb', 'MB', 1)}"
    return f"| {passes} | {NAMES[method]} | {scores} | {costs} |"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text()))
