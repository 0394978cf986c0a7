"""Brings files from above `docs/` into the site, and places names of the API that `api.md` does not mention.

Pages link to files as they are in the repository, so that links work there too: `../examples/own_provider.py`. In the
site those files are beside the pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

import acetasks

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: Files that pages link to, besides the examples.
BROUGHT = ("benchmarks/results/results.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "RELEASING.md", "SECURITY.md")
#: Links to folders and to the page of the repository itself.
REPLACED = {"README.md": "index.md", "examples": "recipes.md#examples", "charts": "charts/cpu.svg"}
#: Where the names that have no place of their own are put.
OTHER_NAMES = "<!-- other names -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from above `docs/`."""
    examples = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "examples").glob("*.py"))]
    for name in (*BROUGHT, *examples):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # mkdocs's names
    """Point links at the places of files in the site."""
    if page.file.src_uri == "api.md":
        markdown = _place_other_names(markdown)
    return re.sub(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", _rewrite, markdown)


def _rewrite(link: re.Match[str]) -> str:
    target, anchor = link[1], link[2] or ""
    bare = re.sub(r"^(\.\./|docs/)", "", target).rstrip("/")
    bare = REPLACED.get(bare, bare)
    return f"]({bare}{'' if '#' in bare else anchor})"


def _place_other_names(markdown: str) -> str:
    """Put the public names that the page does not have where it says so."""
    names = [name for name in acetasks.__all__ if name not in {"__version__", "providers"}]
    missing = [name for name in names if not re.search(rf"^::: acetasks\.{name}$", markdown, re.MULTILINE)]
    placed = "\n\n".join(f"::: acetasks.{name}" for name in missing)
    return markdown.replace(OTHER_NAMES, f"## Other names\n\n{placed}" if missing else "")
