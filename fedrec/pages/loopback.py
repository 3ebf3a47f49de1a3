"""What every page that is served on this machine keeps to: loopback, one host name, headers, small bodies, no cache."""

import socket
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from fedrec.errors import ConfigError
from fedrec.pages.document import Document

MAX_BODY = 4096
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers say Origin: null of our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def listen(port: int) -> socket.socket:
    """Return a socket on loopback, 0 for a free port; ``ConfigError`` if the port is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"port {port} cannot be listened on: {error.strerror}; choose another by --port") from error
    return listening


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Answer until the process is told to end. Requests are not logged: a path may hold a secret."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, ws="none")
    uvicorn.Server(config).run(sockets=[listening])


def make_app(port: int) -> FastAPI:
    """Return an app without routes that answers only who asks for this machine's own loopback address and ``port``.

    Another name in ``Host`` is a page from elsewhere whose name was pointed here (DNS rebinding).
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        origin = request.headers.get("origin")
        answer: Response
        if request.headers.get("host") not in hosts:
            answer = PlainTextResponse("this page answers on 127.0.0.1 alone\n", status_code=421)
        elif request.method == "POST" and origin is not None and origin.removeprefix("http://") not in hosts:
            answer = PlainTextResponse("refused: the form is from another page\n", status_code=403)
        else:
            answer = await call_next(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    return app


def respond(page: Document, status: int = 200) -> HTMLResponse:
    """Return a page with its security policy."""
    return HTMLResponse(page.html, status_code=status, headers={"Content-Security-Policy": page.policy})


async def read_form(request: Request) -> dict[str, str] | None:
    """Return the fields of a form of at most ``MAX_BODY`` bytes, the last of each name; None for anything else."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            return None
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return None
    return {name: values[-1] for name, values in fields.items()}
