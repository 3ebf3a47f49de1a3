"""Markdown as our pages use it: links outside code, headings as anchors, fenced blocks.

Knows nothing of the site, nor of what a link leads to.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<language>[\w+-]*)(?P<words>[^`]*)$")
_INLINE = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<before>!?\[(?P<text>(?:[^\[\]`]|`[^`]*`)*)\]\()(?P<target>[^()\s]+)(?P<after>\))"
)


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link of a page: the number of its line, from 1, its text and where it leads."""

    line: int
    text: str
    target: str

    @property
    def path(self) -> str:
        """What stands before ``#``; empty for the page itself."""
        return self.target.partition("#")[0]

    @property
    def anchor(self) -> str:
        """What stands after ``#``; empty for the top."""
        return self.target.partition("#")[2]

    @property
    def leaves(self) -> bool:
        """Whether it leads to another machine."""
        return re.match(r"[a-z][a-z+.-]*:", self.target) is not None


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block: the number of its first line, from 1, its language, other words of the fence, its text."""

    line: int
    language: str
    words: str
    text: str


def links(page: str) -> list[Link]:
    """Return the links and pictures of a page, those in code left out."""
    found: list[Link] = []
    for number, line in _prose(page):
        for match in _INLINE.finditer(line):
            if match["target"]:
                found.append(Link(line=number, text=match["text"], target=match["target"]))
    return found


def with_targets(page: str, choose: Callable[[Link], str]) -> str:
    """Return the page with each link's target as ``choose`` has it."""
    lines = page.split("\n")
    for number, line in _prose(page):

        def replaced(match: re.Match[str], number: int = number) -> str:
            if not match["target"]:
                return match[0]
            link = Link(line=number, text=match["text"], target=match["target"])
            return f"{match['before']}{choose(link)}{match['after']}"

        lines[number - 1] = _INLINE.sub(replaced, line)
    return "\n".join(lines)


def anchors(page: str) -> set[str]:
    """Return the names that a forge and the site give to the page's headings; a second one of a name has ``-1``."""
    names: set[str] = set()
    for _, line in _prose(page):
        names.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
        head = re.match(r"#{1,6} +(.*?)#*$", line)
        if head:
            names.add(_fresh(slug(head[1]), names))
    return names


def slug(heading: str) -> str:
    """Return a heading's anchor: lower case, letters, digits, ``_`` and ``-`` kept, a space a ``-``."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown).strip().lower().replace(" ", "-")


def _fresh(name: str, taken: set[str]) -> str:
    count, fresh = 0, name
    while fresh in taken:
        count += 1
        fresh = f"{name}-{count}"
    return fresh


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    begin, body = 0, list[str]()
    for number, line in enumerate(page.split("\n"), 1):
        match = _FENCE.match(line)
        if opened is None:
            if match:
                opened, begin, body = match, number + 1, []
        elif match and match["fence"].startswith(opened["fence"]) and not match["language"]:
            found.append(
                Block(line=begin, language=opened["language"], words=opened["words"].strip(), text="\n".join(body))
            )
            opened = None
        else:
            body.append(line.removeprefix(opened["indent"]))
    if opened is not None:
        raise ValueError(f"the fence of line {begin - 1} is not closed")
    return found


def _prose(page: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines outside fenced blocks."""
    fenced = {
        number for block in blocks(page) for number in range(block.line - 1, block.line + block.text.count("\n") + 2)
    }
    for number, line in enumerate(page.split("\n"), 1):
        if number not in fenced:
            yield number, line
