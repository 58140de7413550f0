"""Pages of the repository as pages of one folder: their links follow them, pictures and notebooks come along."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.site.notebooks import markdown

ROOT = Path(__file__).parent.parent.parent
NAMES = {  # where a page of the repository stands in the site; those of docs/ keep their names
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/CHECKS.md": "benchmarks/checks.md",
    "benchmarks/TUNING.md": "benchmarks/tuning.md",
}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def sources() -> dict[Path, str]:
    """Every page and notebook of the repository, and its name in the site."""
    named = {ROOT / source: name for source, name in NAMES.items()}
    pages = {page: page.name for page in sorted((ROOT / "docs").glob("*.md"))}
    notebooks = {book: f"notebooks/{book.stem}.md" for book in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    return named | pages | notebooks


def gather(folder: Path) -> None:
    """Writes the pages into an empty folder."""
    names = sources()
    for source, name in names.items():
        text = markdown(source) if source.suffix == ".ipynb" else source.read_text()
        put(folder / name, moved(text, source, name, names, folder))
    shutil.copy(ROOT / "docs" / "site" / "style.css", folder)


def put(file: Path, text: str) -> None:
    """Writes a file, and the folder that it stands in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def moved(text: str, source: Path, name: str, names: dict[Path, str], folder: Path) -> str:
    """A page's text with links that lead from its place in the site to theirs; code is left alone."""

    def link(found: re.Match[str]) -> str:
        target = (source.parent / found[2]).resolve()
        place = names.get(target) or carried(target, folder)
        return f"{found[1]}{relative(place, name)}{found[3]}"

    parts = _CODE.split(text)
    return "".join(part if number % 2 else in_one_line(_LINK.sub(link, part)) for number, part in enumerate(parts))


def in_one_line(text: str) -> str:
    """Text whose numbers keep their error and their unit on their line."""
    return re.sub(r"(?<=\d) (±) (?=\d)|(?<=\d) (%)", lambda sign: sign[0].replace(" ", "\u00a0"), text)


def carried(target: Path, folder: Path) -> str:
    """The place of a file that is no page: a copy. Another file than that is an error, as the link leads nowhere."""
    place = target.relative_to(ROOT / "docs" if target.is_relative_to(ROOT / "docs") else ROOT)
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(target, folder / place)
    return place.as_posix()


def relative(place: str, page: str) -> str:
    """A place in the site as a link on a page."""
    return "../" * page.count("/") + place
