"""Against real TLS servers on loopback."""

import ssl

import pytest

from clients.supervisor.backoff import PERMANENT, BackOff, Failure
from clients.supervisor.link import Link, LinkError

pytestmark = pytest.mark.abuse


def failure_of(link: Link) -> LinkError:
    with pytest.raises(LinkError) as caught:
        link.read("orders.json", 1000)
    return caught.value


def test_what_the_server_publishes_is_read(server, tls, authority):
    server.answer = tls.say(200, b"hello")
    assert server.link(authority.path).read("orders.json", 5) == b"hello"
    assert server.asked == [("GET", "/public/orders.json")]


def test_what_is_longer_than_it_may_be_is_not_read(server, tls, authority):
    server.answer = tls.say(200, b"hello!")
    with pytest.raises(LinkError, match="more than 5 bytes"):
        server.link(authority.path).read("orders.json", 5)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 404])
def test_b24_an_error_of_the_server_is_waited_out_whatever_page_comes_with_it(server, tls, authority, status):
    """Case B24."""
    server.answer = tls.say(status, b"<html>sorry</html>", Content_Type="text/html")
    failed = failure_of(server.link(authority.path))
    assert failed.failure is Failure.TRANSIENT
    assert str(status) in str(failed)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_b24_a_redirect_to_another_host_is_refused(tls, authority, status):
    """Case B24."""
    with tls.server(authority.issue("elsewhere"), tls.say(200, b"mine now")) as elsewhere:
        to = f"https://{elsewhere.address}/public/orders.json"
        with tls.server(authority.issue("here"), tls.say(status, b"", Location=to)) as here:
            failed = failure_of(here.link(authority.path))
        assert failed.failure is Failure.PERMANENT
        assert elsewhere.asked == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_turns_a_device_down_is_told_apart_from_one_that_is_ill(server, tls, authority, status):
    server.answer = tls.say(status)
    assert failure_of(server.link(authority.path)).failure is Failure.REJECTED


def test_b25_a_server_of_another_authority_gets_no_byte_of_a_request(tls, authority, other_authority):
    """Case B25, and B33: a captive portal has no certificate of this authority."""
    with tls.server(other_authority.issue("portal"), tls.say(200, b"log in here")) as portal:
        failed = failure_of(portal.link(authority.path))
        assert portal.asked == []
    assert failed.failure is Failure.PERMANENT
    assert "nothing was sent" in str(failed)
    assert BackOff(lambda low, high: low).failed(failed.failure) >= 0.8 * PERMANENT


def test_b25_a_certificate_that_has_ended_is_refused(tls, authority):
    """Case B25."""
    with tls.server(authority.issue("ended", ended=True), tls.say(200)) as old:
        failed = failure_of(old.link(authority.path))
        assert old.asked == []
    assert failed.failure is Failure.PERMANENT
    assert "expired" in str(failed)


def test_b25_a_certificate_of_another_host_is_refused(tls, authority):
    """Case B25."""
    with tls.server(authority.issue("other", host="192.0.2.1"), tls.say(200)) as other:
        failed = failure_of(other.link(authority.path))
        assert other.asked == []
    assert failed.failure is Failure.PERMANENT


def test_b25_a_self_signed_certificate_is_refused(tls, authority, other_authority):
    """Case B25."""
    own = (other_authority.path, other_authority.folder / "ca.key")
    with tls.server(own, tls.say(200)) as alone:
        failed = failure_of(alone.link(authority.path))
        assert alone.asked == []
    assert failed.failure is Failure.PERMANENT


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_b25_tls_1_0_is_not_spoken(tls, authority):
    """Case B25."""
    with tls.server(authority.issue("ancient"), tls.say(200), newest=ssl.TLSVersion.TLSv1) as ancient:
        failed = failure_of(ancient.link(authority.path))
        assert ancient.asked == []
    assert failed.failure is Failure.PERMANENT


def test_a_server_that_is_not_there_is_waited_for(authority):
    assert failure_of(Link("https://127.0.0.1:9/public", authority.path)).failure is Failure.TRANSIENT


def test_b22_an_answer_that_drips_is_broken_off_by_the_clock(server, tls, authority, clock):
    """Case B22, the device's half: no transfer holds the role for ever."""
    server.answer = tls.say(200, b"x" * 500)
    link = server.link(authority.path, now=lambda: (clock.passes(40), clock.now)[1])
    failed = failure_of(link)
    assert failed.failure is Failure.TRANSIENT
    assert "too slowly" in str(failed)


def test_only_https_is_spoken(authority):
    with pytest.raises(ValueError, match="https"):
        Link("http://127.0.0.1:80/public", authority.path)


def test_the_clock_s_distance_from_the_server_s_is_known_after_an_answer(server, tls, authority):
    server.answer = tls.say(200, b"", Date="Thu, 01 Jan 2026 00:00:00 GMT")
    link = server.link(authority.path)
    link.read("orders.json", 10)
    assert link.skew is not None
    assert link.skew < -1e6
