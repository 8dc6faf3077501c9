"""Configuration of the Sphinx site; `make docs` builds it."""

import sys
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS

import sksurvtorch
import sksurvtorch.functional
import sksurvtorch.losses

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "sksurvtorch"
author = "The sksurvtorch developers"
project_copyright = author
release = sksurvtorch.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # Copies MathJax with its fonts into the site, so that formulas need no network.
    "sphinx-mathjax-offline",
    "repository_links",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# Names in single backticks are links where there is such an object, and code where not.
default_role = "py:obj"
nitpick_ignore_regex = [
    # Parameters, and objects of other packages: their inventories would need the network.
    (r"py:.*", r"(?!sksurvtorch\b).*"),
]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc lists the types, with shapes
autodoc_member_order = "bysource"
add_module_names = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = dict(zip(DEFAULT_LINKS, DEFAULT_LINKS, strict=True)) | {
    name: f"{module.__name__}.{name}"
    for module in (sksurvtorch.functional, sksurvtorch.losses)
    for name in module.__all__
    if name[0].isupper()
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/(plot_|quickstart)",
    "ignore_pattern": r"(^|/)_",
    "within_subsection_order": "gallery.quickstart_first",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sksurvtorch",),
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sksurvtorch"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sksurvtorch"},
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
alone = (
    "index getting_started how_do_i moving what_it_does_not_do glossary design references "
    "changelog contributing"
)
# Nothing stands beside them.
html_sidebars = {page: [] for page in alone.split()}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
