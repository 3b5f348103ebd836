"""The documentation as a site: `sphinx-build -W -n -c docs . build/site`, from the root.

The source folder is the root of the repository, so that a relative link leads to the same place
here, in an editor and wherever else the files are shown. Links and anchors inside are checked by
every build; links to other sites by `sphinx-build -b linkcheck -c docs . build/links`, on demand.
"""

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docs import reference  # noqa: E402  # found by the line above
from icckd import __version__  # noqa: E402  # found by the line above

project = "icckd"
author = "the authors of icckd"
release = version = __version__
copyright = "MIT licence"  # noqa: A001  # the name that Sphinx reads

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "bench/results/*.md", "*.md"]
exclude_patterns = [".*", "build", "dist", "core", "tests", "studies", "data", "icckd_tui"]

myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_dmath_allow_space = False  # "$PAGER or $EDITOR" is no formula
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # a page of records may begin below its title
]
nitpicky = True
linkcheck_timeout = 20

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"icckd {release}"
html_extra_path = ["site"]
html_static_path = ["_static"]
html_css_files = ["math.css"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"content-padding": "2em"},
}
pygments_style = "friendly"
pygments_dark_style = "monokai"


class FromCode(SphinxDirective):
    """`{from-code} NAME`: what `reference.py` makes of the code now."""

    required_arguments = 1

    def run(self) -> list:
        """Return the page's nodes."""
        self.env.note_reread()
        text = reference.PAGES[self.arguments[0]]()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers draw themselves: no script is fetched for it."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own line as MathML."""
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Make the block known."""
    app.add_directive("from-code", FromCode)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.add_lexer("csv", TextLexer)  # Pygments has none; its fences say what they are all the same
