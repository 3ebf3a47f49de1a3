"""Pages of runs: what is told of events, and that a real browser shows them whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.pages.charts import Series, lines, ticks
from fedrec.pages.dashboard import Look, dashboard
from fedrec.pages.rounds import Fold, Following, Told
from fedrec.runs.folder import RunFolder
from tests.browser import CHROMIUM, browser


def event(what, round=0, **facts):
    return {"time": 5.0, "run_id": "ab", "round": round, "what": what, "facts": facts}


def told_by(events):
    fold = Fold()
    for row in events:
        fold.take(row)
    return fold.told()


def run_of(name, rounds=12):
    events = [event("run-began", rounds=20, resumed=False)]
    for number in range(1, rounds):
        events += [event("round-opened", number, asked=3, users=9), event("reply-taken", number, node="a", seconds=2.0)]
        events += [event("node-silent", number, node="b"), event("round-committed", number, seconds=3.0, epsilon=0.1)]
    events.append(event("round-opened", rounds, asked=3))
    events.append(event("round-abandoned", rounds, why="1 of 3 answered", spent_on_devices=4))
    events.append(event("alarm", 3, kind="exposure", text="<b>item 7</b>" + "x" * 200))
    rows = [
        {"round": n, "epsilon": 0.1 * n, "metrics": {"hr@10": 0.01 * n, "ndcg@10": 0.005 * n}} for n in range(rounds)
    ]
    return Look(name, rows, "final", told_by(events), ("hr@10", "ndcg@10"), 8.0)


def test_events_are_folded_into_rounds():
    told = run_of("a").told
    first, last = told.rounds[0], told.rounds[-1]
    assert (first.standing, first.taken, first.silent, first.seconds) == ("committed", 1, 1, 3.0)
    assert (last.standing, last.why, last.spent_on_devices) == ("abandoned", "1 of 3 answered", 4)


def test_a_run_that_begins_again_from_nothing_is_told_from_there():
    opened = event("round-opened", 7)
    assert told_by([opened, event("run-began", resumed=False)]).rounds == ()
    assert len(told_by([opened, event("run-began", resumed=True)]).rounds) == 1


def test_a_run_that_is_followed_is_told_as_one_that_is_read_whole_also_after_an_older_file_was_restored(tmp_path):
    folder = RunFolder(tmp_path)
    following = Following(folder)
    assert following.told() == Told()
    events = [event("run-began", rounds=9), *[event("round-opened", n, asked=n) for n in range(1, 4)]]
    for number, row in enumerate(events, 1):
        folder.append_event(row)
        with folder.events_path.open("ab") as file:
            file.write(b"no event\n")
        assert following.told() == told_by(events[:number]) == told_by(folder.events())
    with folder.events_path.open("ab") as file:
        file.write(b'{"half')
    assert following.told() == told_by(events)
    folder.events_path.unlink()
    folder.append_event(events[0])
    assert following.told() == told_by(events[:1])


def test_what_is_not_finite_is_not_drawn():
    assert lines("x", [Series("a", [(1, float("nan"))])]) == ""


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.booleans())
def test_ticks_are_few_and_round_and_hold_what_is_drawn(low, span, whole):
    marks = ticks(low, low + span, whole=whole)
    slack = 1e-6 * max(span, abs(low) * 1e-6)
    assert marks[0] <= low + slack
    assert marks[-1] >= low + span - slack
    assert 2 <= len(marks) <= 8


def test_ticks_are_one_two_or_five_apart():
    assert ticks(0, 0.068) == [0, 0.02, 0.04, 0.06, 0.08]
    assert ticks(0, 7.5) == [0, 2, 4, 6, 8]
    assert ticks(0, 3, whole=True) == [0, 1, 2, 3]
    assert ticks(0, 12_345) == [0, 5000, 10_000, 15_000]
    assert ticks(-0.4, 0.4) == [-0.4, -0.2, 0, 0.2, 0.4]


@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
def test_a_browser_shows_dashboards_whole_empty_and_full_narrow_and_wide(tmp_path):
    empty = Look("empty", [], "selection", told_by([]), ("hr@10", "ndcg@10"), None)
    cases = {"empty": [empty], "one": [run_of("a")], "two": [run_of("a"), run_of("<i>" + "long-name" * 9)]}
    with browser(tmp_path / "profile") as new_page:
        for name, looks in cases.items():
            path = tmp_path / f"{name}.html"
            path.write_text(dashboard(looks, live_seconds=None).html)
            for width in (390, 1280):
                page = new_page()
                page.open(path, width=width)
                scroll, client = page.value_of("[document.documentElement.scrollWidth, innerWidth]")
                assert (page.complaints, page.requests, scroll <= client) == ([], [], True), (name, width)
