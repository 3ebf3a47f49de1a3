"""The operator's console in a real browser: logged in to, looked at wide and narrow, told anew, pressed."""

import json
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn

from fedrec.flower.events import What
from fedrec.pages.loopback import listen
from server.console.access import Access
from server.console.service import Deeds, make_console
from server.operations.store import OperationsStore
from tests.browser import CHROMIUM, browser

pytestmark = [
    pytest.mark.xdist_group("console-browser"),  # one browser for all
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
]

BEGUN = 1_790_000_000.0
SCREENSHOTS = "FEDREC_SCREENSHOTS"
"""Folder that the screenshots are left in, for who wants to look at them."""


class Console:
    """A console of a prepared store on a free port, and the run folder that its events come from."""

    def __init__(self, place, runs=True):
        place.mkdir()
        self.url, self.folder, self.pressed = str(place / "operations.db"), place / "spring", []
        self.store = OperationsStore.open(self.url)
        if runs:
            self._prepare()
        deeds = Deeds(act=self._act, stopped=lambda: False, back_to=lambda run: [10, 11] if run else [])
        self.socket = listen(0)
        self.port = self.socket.getsockname()[1]
        app = make_console(lambda: OperationsStore.open(self.url), deeds, Access("secret"), port=self.port)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def tell(self, what, round, **facts):
        self._told = getattr(self, "_told", 0.0) + 1.0
        row = {"time": BEGUN + self._told, "run_id": "ab12", "round": round, "what": what.value, "facts": facts}
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def round(self, number):
        self.tell(What.ROUND_OPENED, number, asked=12, users=12)
        for node in range(12):
            if (node + number) % 5:
                self.tell(What.REPLY_TAKEN, number, node=f"device-{node}", seconds=2.0 + node % 4, bytes=25_000)
            elif node % 2:
                self.tell(What.NODE_SILENT, number, node=f"device-{node}")
            else:
                self.tell(What.REPLY_QUARANTINED, number, node=f"device-{node}", reason="norm")
        self.tell(What.ROUND_COMMITTED, number, seconds=7.5, epsilon=0.31 * number, bytes_up=3e5, bytes_down=9e5)
        self.tell(What.QUALITY, number, **{"hr@10": 0.02 + 0.004 * number, "ndcg@10": 0.011 + 0.002 * number})

    def _prepare(self):
        self.folder.mkdir()
        self.tell(What.RUN_BEGAN, 0, rounds=30, population=240, nodes=12)
        for number in range(1, 13):
            self.round(number)
        self.tell(What.ALARM, 9, kind="exposure", text="one item rose in lists of tastes", value=0.31, bound=0.1)
        self.store.ingest(self.folder)
        self.store.set_budget("spring", epsilon=8.0, delta=1e-5)
        states = ("online", "online", "offline", "revoked")
        self.store.set_devices({f"device-{number}": ("mill lane", states[number % 4]) for number in range(12)})
        self.store.record_command(time=BEGUN, who="anna", what="resume", run="spring", outcome="spring goes on")

    def _act(self, what, run, detail):
        self.pressed.append((what, run, detail))
        if what == "acknowledge":
            self.store.acknowledge(int(detail), who="anna", time=BEGUN)
        return f"{run or 'the server'}: {what} is done"

    def end(self):
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self.socket.close()
        self.store.close()


@pytest.fixture(scope="module")
def new_page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def console(tmp_path):
    made = Console(tmp_path / "full")
    yield made
    made.end()


def until(page, expression, seconds=30.0):
    """Return a value of the page once it is true; the time is for a machine that does much else."""
    deadline = time.monotonic() + seconds
    while not (value := _seen(page, expression)):
        told = (expression, _seen(page, "document.body.innerText"), page.complaints)
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    return value


def _seen(page, expression):
    try:
        return page.value_of(expression)
    except AssertionError:  # the page is just being left for another
        return None


def click(page, found):
    """Click once the browser has answered: what follows may be another page."""
    page.value_of(f"void setTimeout((one) => one.click(), 0, {found})")


def shown_to(new_page, console, *, width=1280, dark=False):
    """Return a page after the login."""
    page = new_page()
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.call("Emulation.setEmulatedMedia", features=[scheme])
    page.call("Page.navigate", url=f"http://127.0.0.1:{console.port}/")
    until(page, "!!document.getElementById('token') || !!document.getElementById('readings')")
    if page.value_of("!!document.getElementById('token')"):  # the browser's pages share their cookies
        page.complaints.clear()  # the login is answered 401, which a browser notes
        page.value_of("document.getElementById('token').value = 'secret'")
        click(page, "document.querySelector('button')")
    until(page, "!!document.getElementById('readings') && document.readyState === 'complete'")
    return page


def keep(page, name):
    if folder := os.environ.get(SCREENSHOTS):
        Path(folder, f"{name}.png").write_bytes(page.screenshot())


def fits(page):
    scroll, inner = page.value_of("[document.documentElement.scrollWidth, innerWidth]")
    return scroll <= inner


def press(page, label):
    """Press the first button of this label."""
    found = f"[...document.querySelectorAll('button')].find(one => one.textContent === {json.dumps(label)})"
    assert page.value_of(f"!!{found}"), label
    click(page, found)


def test_an_operator_sees_rounds_devices_alarms_and_the_budget_wide_narrow_and_in_the_dark(new_page, console):
    for name, width, dark in (("wide", 1280, False), ("narrow", 390, False), ("dark", 1280, True)):
        page = shown_to(new_page, console, width=width, dark=dark)
        told = page.value_of("document.body.innerText")
        for word in ("12 of 30", "exposure", "device-11", "mill lane", "revoked", "of 8, delta 1e-05", "anna"):
            assert word in told, (name, word)
        charts = page.value_of("[...document.querySelectorAll('svg')].map(one => one.ariaLabel).join()")
        assert "Nodes by round, rounds 1 to 12" in charts
        assert "Epsilon spent by round" in charts
        paper = page.value_of("getComputedStyle(document.body).backgroundColor")
        light = sum(int(part) for part in paper.strip("rgba()").split(",")[:3]) > 384
        assert (page.complaints, fits(page), light) == ([], True, not dark), name
        assert all(f":{console.port}/" in url or url.startswith("data:") for url in page.requests), page.requests
        keep(page, name)


def test_the_page_shows_a_new_event_without_being_loaded_again(new_page, console):
    page = shown_to(new_page, console)
    page.value_of("window.mark = 1")
    console.round(13)
    console.store.ingest(console.folder)
    until(page, "document.body.innerText.includes('13 of 30')")
    assert page.value_of("window.mark") == 1
    assert page.complaints == []


def test_a_pause_is_given_by_its_button_and_a_stop_is_asked_about_once_more(new_page, console):
    page = shown_to(new_page, console)
    press(page, "Pause")
    until(page, "document.body.innerText.includes('spring: pause is done')")
    keep(page, "done")
    click(page, "document.querySelector('a')")
    until(page, "!!document.getElementById('readings')")
    press(page, "Stop all training")
    until(page, "document.body.innerText.includes('Yes, do it')")
    keep(page, "confirm")
    assert console.pressed == [("pause", "spring", "")]
    press(page, "Yes, do it")
    until(page, "document.body.innerText.includes('kill is done')")
    assert console.pressed[1:] == [("kill", "", "")]


def test_an_alarm_is_acknowledged_by_its_button_and_then_kept_with_who_and_when(new_page, console):
    page = shown_to(new_page, console)
    press(page, "Acknowledge")
    until(page, "document.body.innerText.includes('acknowledge is done')")
    click(page, "document.querySelector('a')")
    until(page, "!!document.getElementById('readings')")
    told = page.value_of("document.getElementById('readings').textContent")
    assert "None is open." in told
    assert "Acknowledged" in told
    assert console.pressed == [("acknowledge", "spring", "1")]
    (one,) = console.store.alarms()
    assert (one.acknowledged_by, one.acknowledged_at) == ("anna", BEGUN)


def test_a_server_without_a_run_has_a_page_that_says_so(new_page, tmp_path):
    console = Console(tmp_path / "empty", runs=False)
    try:
        page = shown_to(new_page, console, width=390)
        told = page.value_of("document.body.innerText")
        assert "No run yet" in told
        assert "No device is enrolled" in told
        assert (page.complaints, fits(page)) == ([], True)
        keep(page, "empty")
    finally:
        console.end()


def test_a_wrong_token_shows_nothing_of_the_server(new_page, console):
    page = new_page()
    page.call("Page.enable")
    page.call("Page.navigate", url=f"http://127.0.0.1:{console.port}/?run={quote('spring')}")
    until(page, "!!document.getElementById('token')")
    page.value_of("document.getElementById('token').value = 'guess'")
    click(page, "document.querySelector('button')")
    until(page, "document.body.innerText.includes('That is not the token')")
    assert not page.value_of("document.body.innerText.includes('spring')")
    keep(page, "login")
