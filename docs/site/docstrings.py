"""Docstrings as the site shows them: equations stand as they are written, doctests in a frame.

Docstrings are texts for a terminal: `m_W'` is no italic, and a line that ends early ends an equation. This extension of griffe,
which reads the code for mkdocstrings, writes them as the Markdown that looks the same.
"""

from __future__ import annotations

import re
import textwrap
from itertools import groupby
from typing import Any

import griffe  # pyright: ignore[reportMissingImports]  of the extra docs

_SECTION = re.compile(r"(Args|Raises|Warns|Attributes|Returns|Yields):$")
_SPECIAL = re.compile(r"(`[^`]*`)|([\\*_<\[\]])")
_EQUATION = re.compile(r"[\w|^(][\w|^(),'./ ]{0,15} (<-|=) ")
_LABEL = re.compile(r"^((?:Shape|Source|Sources|Memory|Start|Depth|Means sweep|Trust region):)", re.MULTILINE)
_WORDS = 4  # of four letters or more: in an equation, with its remark
_FULL = 108  # columns; a line that leaves room for the next word ends where its author wanted


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every class, function and attribute that was read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object."""
        if obj.docstring is not None:
            obj.docstring.value = shown(obj.docstring.value)


def shown(docstring: str) -> str:
    """A docstring as Markdown."""
    blocks = re.split(r"\n\s*\n", textwrap.dedent(docstring).strip())
    return "\n\n".join(block(part) for part in blocks)


def block(text: str) -> str:
    """One block: a doctest, a section, or a paragraph; a section may stand right under a paragraph."""
    lines = text.splitlines()
    if lines[0].lstrip().startswith(">>>"):
        return f"```pycon\n{textwrap.dedent(text)}\n```"
    start = next((number for number, line in enumerate(lines) if _SECTION.match(line)), None)
    if start is None:
        return paragraph(lines)
    inside = next((number for number, line in enumerate(lines) if number > start and not line.startswith(" ")), len(lines))
    parts = [paragraph(lines[:start]), section(lines[start:inside]), block("\n".join(lines[inside:])) if lines[inside:] else ""]
    return "\n\n".join(filter(None, parts))


def section(lines: list[str]) -> str:
    """A section as a list, an entry for each name or error."""
    entries: list[str] = []
    for line in lines[1:]:
        if line.startswith("     ") or (entries and ": " not in entries[-1]):  # goes on
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    return "\n".join([f"**{lines[0].rstrip(':')}**", "", *(f"- {entry(text)}" for text in entries)])


def entry(text: str) -> str:
    """`name: what it is`, the name as code."""
    name, colon, rest = text.partition(": ")
    return f"`{name}`: {escaped(rest)}" if colon and "`" not in name else escaped(text)


def paragraph(lines: list[str]) -> str:
    """Lines of text, lists and equations; equations that have lines of their own stand in a frame."""
    return "\n\n".join(_SHOWN[kind]([line.strip() for line in group]) for kind, group in groupby(lines, kind_of))


def kind_of(line: str) -> str:
    """Whether a line is text, an entry of a list, or an equation with hardly a word in it."""
    if line.startswith("* "):
        return "list"
    few = len(re.findall(r"\b[a-z]{4,}\b", line)) <= _WORDS
    return "equation" if few and _EQUATION.match(line.strip()) else "text"


def equations(lines: list[str]) -> str:
    """Equations as they were typed."""
    return "\n".join(["```text", *lines, "```"])


def bullets(lines: list[str]) -> str:
    """A list."""
    return "\n".join("* " + escaped(line.removeprefix("* ")) for line in lines)


def prose(lines: list[str]) -> str:
    """Lines of text without equations."""
    following = [*lines[1:], ""]
    broken = [
        len(line) + len(word.split(" ")[0]) < _FULL or _LABEL.match(word) for line, word in zip(lines, following, strict=True)
    ]
    text = "\n".join(escaped(line) + "  " * bool(last) for line, last in zip(lines, broken, strict=True))
    return _LABEL.sub(r"**\1**", text).rstrip()


def escaped(text: str) -> str:
    """Text whose stars, underscores and brackets are none of Markdown's."""
    return _SPECIAL.sub(lambda found: found[1] or ("&lt;" if found[2] == "<" else "\\" + found[2]), text)


_SHOWN = {"text": prose, "list": bullets, "equation": equations}
