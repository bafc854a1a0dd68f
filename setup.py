"""Name the packages; everything else about the project stands in pyproject.toml.

``twisted.plugins`` is named by hand: it has no ``__init__.py`` (it is a piece of
Twisted's own plugin package), so no package finder would see it, and without it
``twistd`` would not know our commands.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["zkservice", "zkservice.*"]), "twisted.plugins"],
    package_data={
        "zkservice": ["py.typed"],
        "zkservice.service.views.status_page": ["page.html", "page.css", "page.js"],
    },
)
