"""``fedrec dashboard RUN...``: runs on a page, while they train and afterwards."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from fedrec.cli.output import write_line
from fedrec.pages.dashboard import dashboard as make_page
from fedrec.pages.dashboard import look_at
from fedrec.runs.atomic import write_atomically
from fedrec.runs.folder import RunFolder


def dashboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, also of runs under way.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: a free one.")] = 0,
    once: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page as it is now, and end.")] = None,
) -> None:
    """Show runs on a page that follows them: learning curves, rounds, traffic, budget, alarms; several compared."""
    names = [path.resolve().name for path in runs]
    unique = len(set(names)) == len(names)
    folders = [(name if unique else str(path), RunFolder.open(path)) for name, path in zip(names, runs, strict=True)]
    if once is not None:
        page = make_page([look_at(folder, name) for name, folder in folders])
        write_atomically(once, page.html.encode(), mode=0o600)
        write_line(f"wrote {once}")
        return
    from fedrec.pages.dashboard_service import make_dashboard  # FastAPI, which a page on the disk does not need
    from fedrec.pages.loopback import listen, serve  # the same

    listening = listen(port)
    token, bound = secrets.token_urlsafe(16), listening.getsockname()[1]
    write_line(f"open http://127.0.0.1:{bound}/{token}/ in a browser on this machine; Ctrl-C ends it")
    serve(make_dashboard(folders, port=bound, token=token), listening)
