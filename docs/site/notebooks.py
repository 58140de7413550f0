"""A notebook as a page: its texts, its code, and the outputs and pictures that were committed with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def markdown(book: Path) -> str:
    """The cells of a notebook, one after the other."""
    cells = json.loads(book.read_text())["cells"]
    return "\n\n".join(part for cell in cells for part in written(cell)) + "\n"


def written(cell: dict[str, Any]) -> list[str]:
    """The parts of a cell."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *(output(one) for one in cell["outputs"])]


def output(found: dict[str, Any]) -> str:
    """An output: a picture within the page, or text."""
    data = found.get("data", {})
    if "image/png" in data:
        return f'<img alt="output" src="data:image/png;base64,{"".join(data["image/png"]).replace(chr(10), "")}">'
    return f"```text\n{''.join(found.get('text') or data.get('text/plain', ''))}\n```"
