"""Settings of Sphinx. Nothing here may load a script, a font or a picture from elsewhere."""

from __future__ import annotations

from typing import Any

from website.build import WORK
from website.mathematics import depart_math, visit_block, visit_inline
from website.versions import release as release_of

project = "Gatewright"
copyright = "Gatewright contributors, MIT licence"
version, date = release_of()
release = version
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"Gatewright {release}"
html_static_path = ["static"]
templates_path = ["templates"]
# The theme's own, and the switch between versions below the search.
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "versions.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_css_files = ["site.css"]
html_extra_path = [str(WORK / "assets")]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {"navigation_with_keys": True}
myst_heading_anchors = 6
myst_enable_extensions = ["colon_fence"]
myst_fence_as_directive = ["math"]
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
# Names of types in signatures, such as torch's, have no page here.
nitpicky = False
# LLVM's lexer does not know every instruction; the code is shown all the same.
suppress_warnings = ["misc.highlighting_failure", "myst.xref_ambiguous"]
maximum_signature_line_length = 88
python_use_unqualified_type_names = True


def setup(app: Any) -> None:
    """Render formulas as MathML, which browsers show without a script."""
    app.add_html_math_renderer("mathml", (visit_inline, depart_math), (visit_block, depart_math))
