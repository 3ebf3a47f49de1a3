"""The console's web application: login, one page, commands. FastAPI on loopback."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from fedrec.errors import FedRecError
from fedrec.pages.loopback import make_app, read_form, respond
from server.console.access import SESSION_SECONDS, Access
from server.console.views import CONFIRMED, confirm_page, console_page, login_page, message_page
from server.operations.database import OperationsError
from server.operations.store import OperationsStore

COOKIE = "fedrec_console"


@dataclass(frozen=True, kw_only=True)
class Deeds:
    """What the buttons do, each returning a sentence. ``act``: by command, run and detail (a round, an alarm)."""

    act: Callable[[str, str, str], str]
    stopped: Callable[[], bool]
    back_to: Callable[[str], Sequence[int]]


@dataclass
class Kept:
    """A store that is opened when it is first needed, and again after it failed. For any number of threads."""

    open_store: Callable[[], OperationsStore]
    _store: OperationsStore | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def store(self) -> Iterator[OperationsStore]:
        """Yield the open store; one that does not work is closed, and what went wrong goes on to the caller."""
        with self._lock:
            store = self._store = self._store or self.open_store()
        try:
            yield store
        except OperationsError:
            with self._lock:
                if self._store is store:
                    self._store = None
            store.close()
            raise


def make_console(open_store: Callable[[], OperationsStore], deeds: Deeds, access: Access, *, port: int) -> FastAPI:
    """Return the app; its store stays open between looks, and is opened anew after one that failed."""
    app = make_app(port)
    kept = Kept(open_store)

    def look(chosen: str, session: str) -> Response:
        try:
            with kept.store() as store:
                known = [one.run for one in store.runs()]
                run = chosen if chosen in known else next(iter(known), "")
                page = console_page(
                    store, run, access.csrf(session), stopped=deeds.stopped(), back_to=deeds.back_to(run)
                )
        except FedRecError as error:
            return respond(message_page("The console cannot be shown", str(error)), 503)
        return respond(page)

    @app.get("/")
    async def show(request: Request, run: str = "") -> Response:
        session = request.cookies.get(COOKIE)
        if session is None or not access.knows(session):
            return respond(login_page(), 401)
        return await run_in_threadpool(look, run, session)

    @app.post("/login")
    async def login(request: Request) -> Response:
        if access.throttled():
            return respond(login_page("Too many wrong tokens: wait a minute."), 429)
        fields = await read_form(request)
        session = access.login((fields or {}).get("token", "").strip())
        if session is None:
            return respond(login_page("That is not the token."), 401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, session, max_age=int(SESSION_SECONDS), httponly=True, samesite="strict")
        return answer

    @app.post("/command")
    async def command(request: Request) -> Response:
        session = request.cookies.get(COOKIE)
        if session is None or not access.knows(session):
            return respond(login_page("Log in first."), 401)
        fields = await read_form(request) or {}
        if not access.matches(session, fields.get("csrf", "")):
            return respond(message_page("Refused", "The form is not of this session: go back and try again."), 403)
        what, run, detail = (fields.get(name, "") for name in ("command", "run", "detail"))
        if what == "logout":
            access.logout(session)
            return RedirectResponse("/", status_code=303)
        if what in CONFIRMED and fields.get("confirm") != "yes":
            return respond(confirm_page(what, run, detail, access.csrf(session)))
        try:
            told = await run_in_threadpool(deeds.act, what, run, detail)
        except FedRecError as error:
            return respond(message_page("Not done", str(error)), 409)
        return respond(message_page("Done", told))

    return app
