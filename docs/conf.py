"""The documentation site: Sphinx reads the Markdown of this folder; `make site` builds it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import medlego

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/medlego/medlego"

project = "medlego"
author = copyright = "medlego maintainers"
version = release = medlego.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
default_role = "code"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.header"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"medlego {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main"}
copybutton_prompt_text = "$ "

_LINK = re.compile(r"(\]\()(\.\./[^)#\s]*)")


def _outside(_app: Any, page: str, text: list[str]) -> None:
    """Links to files outside this folder lead to the repository, or to the page made of one."""
    here = Path(page).parent

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", here, link[2]))
        if path.startswith("docs/"):
            return link[0]
        inside = {"CHANGELOG.md": "changelog.md", "benchmarks/RESULTS.md": "results.md"}
        if path in inside:
            return link[1] + posixpath.relpath(inside[path], here)
        return f"{link[1]}{REPOSITORY}/blob/main/{path}"

    text[0] = _LINK.sub(target, text[0])


def _plain(_app: Any, what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """Cost, Source and Differs become paragraphs, indented lines code; a norm's bars are bars."""
    text = "\n".join(lines)
    if what == "module":
        text = re.sub(r"\n\n(?=    \S)", "\n\n::\n\n", text)
    text = re.sub(r"\n(Cost|Source|Differs): ((?:.+\n?)(?:[ ]+\S.*\n?)*)", _paragraph, text)
    lines[:] = re.sub(r"(?<![`\w])\|(?=\S)|(?<=\w)\|", r"\\|", text).split("\n")


def _paragraph(found: re.Match[str]) -> str:
    return f"\n\n**{found[1]}:** {' '.join(found[2].split())}\n"


def setup(app: Any) -> None:
    """Sphinx's entry."""
    app.connect("source-read", _outside)
    app.connect("autodoc-process-docstring", _plain, priority=400)
