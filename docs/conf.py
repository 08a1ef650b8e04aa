"""The documentation: `make docs` builds it from the READMEs, the notebooks and the docstrings.

Sphinx's source folder is the project's root, so that no page is written twice and links between
READMEs hold.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import zoo  # noqa: E402

project, author, copyright = "zoo", "The zoo authors", "the zoo authors"
version = release = zoo.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "zoo/*/README.md", "benchmarks/README.md"),
    *("zoo/ch10_deploy/SCALING.md", "deploy/README.md", "executed/*.ipynb"),
    *("docs/*.md", "docs/api.rst", "docs/api/*.rst"),
]
templates_path = ["docs/_templates"]
nb_execution_mode = "off"  # `make notebooks-run` executes them, two at a time
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
suppress_warnings = ["ref.python"]  # types in docstrings are named without their modules
html_theme = "furo"
html_title = f"zoo {version}"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_numpy_docstring = False
