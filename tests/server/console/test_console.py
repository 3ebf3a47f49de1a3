"""The operator's console: who gets in, what the buttons do, what is shown."""

import asyncio

import httpx
import pytest

from fedrec.errors import ConfigError
from fedrec.flower.events import What
from server.console.access import MOST_WRONG, Access, token_of
from server.console.service import Deeds, make_console
from server.operations.store import OperationsStore


class Client:
    """Speaks to an app without a socket, and keeps its cookies."""

    def __init__(self, app):
        self.app, self.cookies = app, httpx.Cookies()

    def get(self, path, **options):
        return asyncio.run(self._send("GET", path, options))

    def post(self, path, **options):
        return asyncio.run(self._send("POST", path, options))

    async def _send(self, method, path, options):
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8123", cookies=self.cookies
        ) as client:
            answer = await client.request(method, path, **options)
            self.cookies = client.cookies
            return answer


@pytest.fixture
def given():
    return []


@pytest.fixture
def client(tmp_path, given):
    def act(what, run, detail):
        if what == "resume":
            raise ConfigError("it was not <paused>")
        given.append((what, run, detail))
        return f"did {what}"

    url = str(tmp_path / "operations.db")
    deeds = Deeds(act=act, stopped=lambda: False, back_to=lambda run: [3, 4])
    app = make_console(lambda: OperationsStore.open(url), deeds, Access("secret", clock=lambda: 0.0), port=8123)
    return Client(app)


@pytest.fixture
def told(tmp_path):
    """A run with one round and an alarm whose text is an attack on the page."""
    folder = tmp_path / "spring"
    folder.mkdir()
    rows = [
        (What.RUN_BEGAN, 0, '{"rounds": 4}'),
        (What.ROUND_OPENED, 1, '{"asked": 2, "users": 5}'),
        (What.REPLY_TAKEN, 1, '{"node": "hall", "seconds": 1.5, "bytes": 10}'),
        (What.NODE_SILENT, 1, '{"node": "kitchen"}'),
        (What.ROUND_COMMITTED, 1, '{"seconds": 2.0, "epsilon": 0.5, "bytes_up": 10, "bytes_down": 10}'),
        (What.ALARM, 1, '{"kind": "exposure", "text": "<script>alert(1)</script>"}'),
    ]
    line = '{"time": 5.0, "run_id": "ab", "round": %d, "what": "%s", "facts": %s}\n'
    (folder / "events.jsonl").write_text("".join(line % (number, what.value, facts) for what, number, facts in rows))
    store = OperationsStore.open(str(tmp_path / "operations.db"))
    store.ingest(folder)
    store.close()


def form_token(client):
    page = client.get("/").text
    return page.split('name="csrf" value="')[1].split('"')[0]


def logged_in(client):
    assert client.post("/login", data={"token": "secret"}, follow_redirects=False).status_code == 303
    return form_token(client)


def test_without_the_token_there_is_only_the_login(client, told):
    answer = client.get("/")
    assert answer.status_code == 401
    assert "spring" not in answer.text
    assert client.post("/command", data={"command": "kill", "confirm": "yes"}).status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(client):
    cookie = client.post("/login", data={"token": "secret"}, follow_redirects=False).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_after_wrong_tokens_even_the_right_one_waits(client):
    for _ in range(MOST_WRONG):
        assert client.post("/login", data={"token": "guess"}).status_code == 401
    assert client.post("/login", data={"token": "secret"}).status_code == 429


def test_another_host_name_and_another_origin_are_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.post("/login", data={"token": "secret"}, headers={"origin": "http://evil.example"}).status_code == 403


def test_a_button_without_the_sessions_own_token_does_nothing(client, given):
    logged_in(client)
    assert client.post("/command", data={"command": "pause", "run": "spring", "csrf": "x"}).status_code == 403
    assert given == []


def test_what_cannot_be_taken_back_is_asked_about_once_more(client, given):
    csrf = logged_in(client)
    asked = client.post("/command", data={"command": "kill", "csrf": csrf})
    assert "Yes, do it" in asked.text
    assert given == []
    client.post("/command", data={"command": "kill", "csrf": csrf, "confirm": "yes"})
    client.post("/command", data={"command": "pause", "run": "spring", "csrf": csrf})
    assert given == [("kill", "", ""), ("pause", "spring", "")]


def test_a_command_that_is_refused_says_why(client):
    answer = client.post("/command", data={"command": "resume", "run": "spring", "csrf": logged_in(client)})
    assert answer.status_code == 409
    assert "it was not &lt;paused&gt;" in answer.text


def test_the_page_shows_the_run_and_escapes_what_it_is_told(client, told):
    logged_in(client)
    answer = client.get("/")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert" in answer.text
    assert "round 1 committed: 1 taken, 0 refused, 0 set aside, 1 silent" in answer.text
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_an_empty_server_has_a_page_too(client):
    logged_in(client)
    assert "No run yet" in client.get("/").text


def test_the_token_is_drawn_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "console.token"
    assert token_of(path) == token_of(path)
    assert path.stat().st_mode & 0o777 == 0o600
