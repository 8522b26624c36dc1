"""How Sphinx builds the documentation; see ``make docs``."""

import re
from typing import TypeVar, get_origin

import stylecore

project = "stylecore"
author = "The stylecore authors"
copyright = "2026, The stylecore authors"
version = release = stylecore.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["build", "templates"]
templates_path = ["templates"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # Links of the included benchmarks/README.md to folders of the repository.

autodoc_typehints = "none"  # The docstrings say more: shapes, units and ranges.
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = f"stylecore {release}"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_show_sourcelink = False


def _escape_bars(app, what, name, obj, options, lines):
    """Keep norms such as |m - n|^2 in docstrings, which reStructuredText would take for substitutions."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`+[^`]*`+)", line)
            lines[i] = "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def _skip_type_names(app, what, name, obj, skip, options):
    """Leave out type variables and aliases of types, which numpydoc cannot inspect."""
    return True if isinstance(obj, TypeVar) or get_origin(obj) is not None else None


def setup(app):
    """Connect the hooks to autodoc, the first before numpydoc's own."""
    app.connect("autodoc-skip-member", _skip_type_names)
    app.connect("autodoc-process-docstring", _escape_bars, priority=100)
