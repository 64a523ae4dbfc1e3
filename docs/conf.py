"""Configuration of the documentation site: Sphinx with MyST (Markdown) and furo.

Everything that a page needs is built in: no font, script or style comes from a network, and equations are MathML, which browsers
render themselves. ``docs/build.py`` copies this folder, generates the reference beside it, and runs Sphinx on the copy.
"""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from generate.mathml import display_math, inline_math

from stemwright.manifests import __version__

project = "stemwright"
author = "the authors of stemwright"
copyright = "the authors of stemwright; MIT licence"  # the name that Sphinx reads
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["generate", "README.md"]
source_suffix = {".md": "markdown"}
root_doc = "index"
nitpicky = False

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_inline", "attrs_block"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"Audio": "Audio", "Chain": "Chain"}
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"stemwright {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}
html_math_renderer = "mathml"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
pygments_style = "tango"
pygments_dark_style = "monokai"


ARRAY = r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?(?:numpy\.)?dtype\[~?(?:numpy\.)?\w+\]\]"


def _plain_arrays(*event: Any) -> tuple[str | None, str | None]:
    """Writes the type of an array as ``ndarray``: its shape and units are in the text. An object without a signature has None."""
    signature, returns = (text and re.sub(ARRAY, "ndarray", text) for text in event[-2:])
    return signature, returns


def setup(app: object) -> dict[str, bool]:
    """Registers the renderer of equations."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline_math, None), block_renderers=(display_math, None))  # type: ignore[attr-defined]
    app.connect("autodoc-process-signature", _plain_arrays)  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
