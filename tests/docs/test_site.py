"""The site: every page and every public name has its place, links follow the pages, docstrings look as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import torch_gbp
from docs.site import api, docstrings, pages
from docs.site.notebooks import markdown

ROOT = Path(__file__).parent.parent.parent


def in_menu() -> set[str]:
    """The pages that mkdocs.yml has in its menu."""
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    return {str(page) for page in re.findall(r"[\w/]+\.md", menu)}


def test_every_page_is_in_the_menu() -> None:
    assert in_menu() == {*pages.sources().values(), *api.pages()}


def test_every_public_name_is_on_one_page_of_the_interface() -> None:
    shown = [name for text in api.pages().values() for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    assert len(shown) == len(set(shown))
    assert {f"torch_gbp.{name}" for name in torch_gbp.__all__} <= set(shown)


def test_every_room_has_a_page_or_is_inside() -> None:
    rooms = {file.stem for file in (ROOT / "torch_gbp").iterdir() if file.suffix == ".py" or (file / "__init__.py").exists()}
    shown = {room for _, rooms in api.PAGES.values() for room in rooms}
    assert rooms - shown == {"__init__", "autocast", "batches", "factors", "foreach", "memory", "modules", "progress"}


def test_links_follow_the_pages(tmp_path: Path) -> None:
    pages.gather(tmp_path)
    for page in tmp_path.rglob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(), flags=re.DOTALL)
        links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("data:")]
        assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_link_to_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pages.moved("[x](nothing.png)", ROOT / "README.md", "index.md", {}, tmp_path)


def test_links_in_code_are_left_alone(tmp_path: Path) -> None:
    text = "`a[0](x)` and\n```\nlayers[1](nothing)\n```"
    assert pages.moved(text, ROOT / "README.md", "index.md", {}, tmp_path) == text


def test_numbers_keep_their_line_and_code_its_spaces(tmp_path: Path) -> None:
    text = "98.5 ± 0.1 % `1 % 2`"
    assert pages.moved(text, ROOT / "README.md", "index.md", {}, tmp_path) == "98.5\u00a0±\u00a00.1\u00a0% `1 % 2`"


def test_nothing_is_fetched() -> None:
    text = (ROOT / "mkdocs.yml").read_text() + (ROOT / "docs" / "site" / "style.css").read_text()
    assert "font: false" in text and "://" not in text and "@import" not in text


def test_a_notebook_keeps_texts_code_and_pictures() -> None:
    text = markdown(ROOT / "notebooks" / "deep_factor_graphs.ipynb")
    assert text.startswith("# ") and "```python\n" in text and text.count("data:image/png;base64,") == 4


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("A line, m_W' * v_W'.", "A line, m\\_W' \\* v\\_W'."),
        ("`m_W` stays.", "`m_W` stays."),
        ("First.\n\n>>> 1 + 1\n2", "First.\n\n```pycon\n>>> 1 + 1\n2\n```"),
        ("Step.\n\nR <- (1 - a) R + a G\nu <- b u", "Step.\n\n```text\nR <- (1 - a) R + a G\nu <- b u\n```"),
        ("First.\n\nArgs:\n    a_b: what\n        it is.\n    c: d.", "First.\n\n**Args**\n\n- `a_b`: what it is.\n- `c`: d."),
        ("First.\n\nArgs:\n    a, b,\n        c: all.", "First.\n\n**Args**\n\n- `a, b, c`: all."),
        ("Short line\nShape: (n,).", "Short line  \n**Shape:** (n,)."),
        ("Two:\n* one_\n* two", "Two:\n\n* one\\_\n* two"),
    ],
)
def test_docstrings_look_as_they_are_written(docstring: str, expected: str) -> None:
    assert docstrings.shown(docstring) == expected
