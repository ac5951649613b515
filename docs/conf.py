"""Sphinx: `make docs` builds the pages of this repository into work_dirs/site."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = 'mmdistill_ext'
author = 'The mmdistill_ext contributors'
version = release = re.search(  # type: ignore[index]
    r"^__version__ = '(.+)'", (ROOT / 'mmdistill_ext/__init__.py').read_text(), re.M)[1]

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
# The root of the repository is the source: links between pages are the same on GitHub and here.
root_doc = 'docs/index'
include_patterns = ['docs/*.md', 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md',
                    'configs/**/README.md', 'projects/README.md', 'projects/**/README.md',
                    'tools/README.md']
myst_heading_anchors = 4
napoleon_google_docstring = True
autodoc_typehints = 'none'  # the docstrings state them
autodoc_member_order = 'bysource'
copybutton_prompt_text = '$ '

html_theme = 'furo'  # which has both colour schemes
html_title = f'mmdistill_ext {release}'
html_theme_options = dict(navigation_with_keys=True)
html_extra_path = ['site']  # sends the root to the front page
