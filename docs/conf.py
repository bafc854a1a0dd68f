"""Sphinx's settings for the site: ``make docs`` builds it into ``build/site``."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

project = "zkservice"
author = "zkservice contributors"
project_copyright = author
release = version = installed_version("zkservice")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "page_links",
    "table_rows",
    "public_names",
]
exclude_patterns = ["_ext"]
nitpicky = True
default_role = "py:obj"
# Types of other projects: the site is built without a network, so without their indexes.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(twisted|zope|OpenSSL|collections|asyncio|logging|datetime|pathlib|types|ssl)\..*",
    ),
    (r"py:exc", r"CannotListenError"),
    (
        r"py:.*",
        r"(os|socket|typing|typing_extensions|enum|random|ipaddress|_random|_typeshed|wsgiref)\..*",
    ),
]

html_theme = "furo"
html_title = f"zkservice {release}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_style = "friendly"
pygments_dark_style = "github-dark"

# Console examples show a prompt; what is copied does not have it.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
# What our classes inherit from the language and from Twisted is documented there.
_FOREIGN_BASES = (
    "Mapping",
    "object",
    "BaseException",
    "Exception",
    "int",
    "str",
    "tuple",
    "Enum",
    "Generic",
    "Protocol",
    "Deferred",
    "Factory",
    "ServerFactory",
    "TestCase",
    "SynchronousTestCase",
)
autodoc_default_options = {
    "members": True,
    "inherited-members": ",".join(_FOREIGN_BASES),
}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# A Deferred fails where a function raises.
napoleon_custom_sections = [("Fails with", "params_style")]
