import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.local_store import LocalStore
from clients.supervisor.orders import follow, standing
from clients.supervisor.owner import objection
from fedrec.errors import SignatureError
from fedrec.signing.orders import Orders

pytestmark = pytest.mark.abuse


def test_orders_are_followed_in_the_order_of_their_numbers(device, signing_key):
    for sequence in (1, 2, 2, 7):
        follow(device, Orders(sequence=sequence).signed(signing_key))
    assert standing(device) == Orders(sequence=7)


def test_older_orders_are_refused_and_the_newer_stay(device, signing_key):
    follow(device, Orders(sequence=5, stop=True).signed(signing_key))
    with pytest.raises(SignatureError, match="older than 5"):
        follow(device, Orders(sequence=4).signed(signing_key))
    assert standing(device) == Orders(sequence=5, stop=True)


def test_two_orders_under_one_number_are_refused(device, signing_key):
    follow(device, Orders(sequence=5, stop=True).signed(signing_key))
    with pytest.raises(SignatureError, match="two different"):
        follow(device, Orders(sequence=5).signed(signing_key))
    assert standing(device).stop


def test_orders_of_another_signer_are_refused(device, signing_key):
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(SignatureError):
        follow(device, Orders(sequence=9, stop=False).signed(stranger))
    assert standing(device) is None


def test_e65_a_stop_holds_over_a_restart_without_a_network(device, signing_key):
    """Case E65: whoever cuts the line does not undo it."""
    follow(device, Orders(sequence=1, stop=True, reason="a bug").signed(signing_key))
    with LocalStore.open(device.store) as store:
        assert "stopped training: a bug" in objection(device, store)


def test_kept_orders_that_are_damaged_train_nothing_and_give_way_to_good_ones(device, signing_key):
    follow(device, Orders(sequence=3).signed(signing_key))
    device.orders.write_bytes(device.orders.read_bytes()[:-9])
    with LocalStore.open(device.store) as store:
        assert "cannot be read" in objection(device, store)
        follow(device, Orders(sequence=4).signed(signing_key))
        assert objection(device, store) == ""
