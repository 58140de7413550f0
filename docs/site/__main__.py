"""`python -m docs.site` writes the pages that mkdocs.yml builds the site of: those of the repository, and the interface's."""

from __future__ import annotations

import shutil

from docs.site import api
from docs.site.pages import ROOT, gather, put

PAGES = ROOT / "build" / "pages"


def main() -> None:
    """Makes the folder of pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    gather(PAGES)
    for name, text in api.pages().items():
        put(PAGES / name, text)


if __name__ == "__main__":
    main()
