"""Links of Markdown pages to files outside of `docs`, as a code-hosting site follows them.

Where such a file is a page of the site too, the link is made one to that page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)(?=[)#])")
PAGES = {
    "CHANGELOG.md": "/changelog.md",
    "CONTRIBUTING.md": "/contributing.md",
    "README.md": "/index.md",
}


def page_of(path: Path, repository: Path) -> str | None:
    """Return the page that shows a file of the repository, or None."""
    name = path.relative_to(repository).as_posix()
    if path.parent == repository / "benchmarks" and path.suffix == ".md":
        return f"/measurements/{path.name}"
    if path.parent == repository / "examples" and path.suffix == ".py":
        return f"/auto_examples/{path.stem}.rst"
    return PAGES.get(name)


def rewrite(app: Any, docname: str, source: list[str]) -> None:
    """Point links that leave `docs` to the pages that show those files."""
    page = Path(app.env.doc2path(docname)).resolve()
    if page.suffix != ".md":
        return
    docs = Path(app.srcdir).resolve()

    def replace(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(page.parent / match[1]))
        inside = path.is_relative_to(docs) or not path.is_relative_to(
            docs.parent
        )
        return match[1] if inside else page_of(path, docs.parent) or match[1]

    source[0] = LINK.sub(replace, source[0])


def setup(app: Any) -> dict[str, Any]:
    """Register the hook."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
