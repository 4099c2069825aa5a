"""The site: `make docs` builds it, with every warning an error.

What can be read from the project is not repeated here: the catalogue and the API come
from the code, the pages of the studies and the benchmarks from their folders, and the
pictures are drawn when the site is built. `pages` writes all that into generated/.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import mathml  # noqa: E402
import pages  # noqa: E402

import rope_lab  # noqa: E402

project = "rope_lab"
author = "The rope_lab authors"
copyright = "The rope_lab authors, Apache-2.0"
version = release = rope_lab.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = [
    "attrs_block",
    "attrs_inline",
    "deflist",
    "dollarmath",
    "fieldlist",
]
myst_heading_anchors = 3

default_role = "code"  # `name` in a docstring
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_use_rtype = False
napoleon_preprocess_types = False
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"rope_lab {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    """Equations need no network; generated pages are written before any is read."""
    mathml.setup(app)
    app.connect("builder-inited", lambda app: pages.write_all())
