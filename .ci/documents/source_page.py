"""A file of code as a page: highlighted, each line with the anchor that a forge gives it, ``L40``."""

from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

_HEAD = """\
---
search:
  exclude: true
hide:
  - toc
---
"""


def source_page(path: str) -> str:
    """Return the Markdown of the page of the file of ``path``, all but its lines."""
    return f"{_HEAD}\n# {Path(path).name}\n\n`{path}`\n"


def highlighted(path: str, text: str) -> str:
    """Return the HTML of the lines of the file of ``path``."""
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    coloured = highlight(text, lexer, HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    lines = [
        f'<span class="line" id="L{number}"><a href="#L{number}">{number}</a>{line}</span>'
        for number, line in enumerate(coloured, 1)
    ]
    return f'<div class="highlight source"><pre><code>{"".join(lines)}</code></pre></div>\n'


def folder_page(path: str, names: list[str]) -> str:
    """Return the Markdown of the page of the folder of ``path``, which leads to the files of ``names`` in it."""
    folder = Path(path).name
    listed = "".join(f"- [{escape(name)}]({folder}/{name})\n" for name in names)
    return f"{_HEAD}\n# {folder}/\n\n`{path}/`\n\n{listed}"
