"""The dashboard as a page on loopback, below a path that only who started it knows."""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from fedrec.pages.dashboard import EVERY_SECONDS, dashboard, look_at
from fedrec.pages.loopback import make_app, respond
from fedrec.pages.rounds import Following
from fedrec.runs.folder import RunFolder


def make_dashboard(folders: Sequence[tuple[str, RunFolder]], *, port: int, token: str) -> FastAPI:
    """Return the app: ``/TOKEN/`` is the page of the runs, by name; anything else is not found."""
    app = make_app(port)
    followed = [(name, folder, Following(folder)) for name, folder in folders]

    @app.get(f"/{token}/")
    def page() -> HTMLResponse:
        looks = [look_at(folder, name, following) for name, folder, following in followed]
        return respond(dashboard(looks, live_seconds=EVERY_SECONDS))

    return app
