"""Page: one HTML file out of sections; its style is inside it, and nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

import torch_gbp
from torch_gbp.reporting.canvas import DASHES


class Section(NamedTuple):
    """A heading, the anchor that leads to it, and HTML."""

    anchor: str
    heading: str
    body: str


def page(title: str, subtitle: str, models: Sequence[str], glance: str, sections: Iterable[Section]) -> str:
    """The whole page.

    Args:
        title, subtitle, models: text, as it comes.
        glance: HTML of the cards under the title.

    >>> page("A & B", "digits", ["AdamW"], "", [Section("scores", "Scores", "<p>.</p>")]).startswith("<!doctype html>")
    True
    """
    parts = list(sections)
    links = "".join(f'<a href="#{part.anchor}">{escape(part.heading)}</a>' for part in parts)
    keys = "".join(key(number, name) for number, name in enumerate(models))
    body = "\n".join(f'<section id="{part.anchor}"><h2>{escape(part.heading)}</h2>\n{part.body}</section>' for part in parts)
    style = files("torch_gbp.reporting").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p>{glance}</header>
<nav><div>{links}<span class="keys">{keys}</span></div></nav>
<main>
{body}
</main>
<footer>Made by torch_gbp {torch_gbp.__version__}. The file needs nothing but itself.</footer>
</body>
</html>
"""


def key(number: int, name: str) -> str:
    """A model's name beside its colour."""
    return f'<span class="key" style="--own:var(--m{number})">{escape(name)}</span>'


def dash(number: int) -> str:
    """A piece of the line that a set of other inputs is drawn with."""
    pattern = DASHES[number % len(DASHES)]
    return (
        f'<svg class="dash" viewBox="0 0 30 8" aria-hidden="true"><line x1="0" y1="4" x2="30" y2="4" stroke="currentColor" '
        f'stroke-width="2" stroke-dasharray="{" ".join(map(str, pattern))}"/></svg>'
    )


def figure(picture: str, caption: str, heading: str = "", number: int | None = None) -> str:
    """A drawing with what it shows under it, and above it a heading or the model that it is of.

    Args:
        picture: an element.
        caption: HTML.
        heading: text.
    """
    above = escape(heading) if number is None else key(number, heading)
    head = f"<figcaption><b>{above}</b></figcaption>" if above else ""
    return f'<figure>{head}{picture}<figcaption class="under">{caption}</figcaption></figure>'


def grid(figures: Iterable[str]) -> str:
    """Drawings beside one another, as many as the window is wide."""
    return f'<div class="grid">{"".join(figures)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML, `<td>` included where a cell has a class."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
