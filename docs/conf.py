"""How Sphinx builds the documentation; see ``make docs``."""

import re
import sys
from typing import TypeVar, get_origin

import requests

import stylecore
from stylecore import weights

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
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["build", "examples", "templates"]
templates_path = ["templates"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # Links of the included benchmarks/README.md to folders of the repository.

autodoc_typehints = "none"  # The docstrings say more: shapes, units and ranges.
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "code"


def _can_fetch(network):
    """Download a network unless it is there; False without a network connection."""
    try:
        weights.fetch(network, progress=False)
    except stylecore.WeightsError as error:
        if not isinstance(error.__cause__, requests.ConnectionError | requests.Timeout):
            raise
        return False
    return True


sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "ExampleTitleSortKey",
    "doc_module": ("stylecore",),
    "backreferences_dir": "gallery/used",
    "capture_repr": (),
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
# Without it, only the scripts that need no download are run; the pages of the others have no pictures.
if not _can_fetch("vgg19"):
    print("VGG-19 cannot be downloaded: most pages of the gallery are without pictures.", file=sys.stderr)
    sphinx_gallery_conf["filename_pattern"] = r"plot_(gradient_check|painter)"

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
