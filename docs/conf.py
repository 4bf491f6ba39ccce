"""Sphinx: Markdown pages, a quiet theme, formulas; a warning is an error in `make docs`."""

project = "attncheck"
extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "changes", "shapes/pictures"]
html_theme = "furo"
html_title = "attncheck"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_copyright = False
html_copy_source = False
nitpicky = True
