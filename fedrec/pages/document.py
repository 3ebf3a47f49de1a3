"""A whole page with its security policy: nothing from elsewhere, no style or script but the one whose hash it names."""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

from fedrec.pages.style import STYLE
from fedrec.runs.html import element, text

LIVE = """
(() => {
  const note = document.getElementById("connection");
  const every = Number(document.body.dataset.every) * 1000;
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, {redirect: "error", cache: "no-store"});
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const now = fresh.getElementById(part.id);
        if (now && !part.contains(document.activeElement) && now.innerHTML !== part.innerHTML)
          part.replaceChildren(...now.childNodes);
      }
      note.hidden = true;
    } catch { note.hidden = false; }
  };
  setInterval(look, every);
})();
"""
"""Fetches the page again and puts its live parts in the place of the old ones, but for one that is being used."""


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


@dataclass(frozen=True)
class Document:
    """A page and the ``Content-Security-Policy`` that a server sends with it."""

    html: str
    policy: str


def document(title: str, *body: str, live_seconds: float | None = None) -> Document:
    """Return a page around ready HTML; with ``live_seconds``, one that looks again that often.

    The policy stands in the page too, so that it holds for one that was saved. Without JavaScript a live page is a
    page as of when it was loaded.
    """
    script = _hash(LIVE) if live_seconds else "'none'"
    connect = "'self'" if live_seconds else "'none'"
    policy = (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {script}; connect-src {connect}; img-src data:; "
        "base-uri 'none'; form-action 'self'"
    )
    gone = text("p", "The server does not answer: what is shown may be old.", id="connection", role="status", hidden="")
    gone = gone.replace("<p ", "<p hidden ", 1)
    live = (gone, f"<script>{LIVE}</script>") if live_seconds else ("", "")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        + element("meta", http_equiv="Content-Security-Policy", content=policy).removesuffix("</meta>")
        + '<meta name="referrer" content="same-origin"><link rel="icon" href="data:,">'
        + text("title", title)
        + f"<style>{STYLE}</style>"
    )
    inner = element(
        "body", live[0], element("main", *body), live[1], data_every=f"{live_seconds:g}" if live_seconds else ""
    )
    html = f'<!doctype html><html lang="en"><head>{head}</head>{inner}</html>'
    return Document(html=html, policy=f"{policy}; frame-ancestors 'none'")


def live_part(name: str, *content: str) -> str:
    """Return a part of a page that is put anew while the page is open; ``name``: unique in it."""
    return element("div", *content, id=name, data_live="1")
