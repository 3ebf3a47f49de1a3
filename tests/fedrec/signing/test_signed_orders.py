"""Standing orders: the kill switch and the versions to have, under the server's signature."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import SignatureError
from fedrec.signing.documents import sign_document
from fedrec.signing.orders import Orders

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
ORDERS = Orders(sequence=9, stop=True, catalogue_version=2, model_version=4, reason="a model that recommends nonsense")


def test_orders_are_read_as_they_were_signed():
    assert Orders.read(ORDERS.signed(KEY), SIGNER) == ORDERS


def test_no_flip_of_a_byte_makes_other_orders():
    content = ORDERS.signed(KEY)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << (place % 8)
        try:
            assert Orders.read(bytes(altered), SIGNER) == ORDERS
        except SignatureError:
            continue


def test_a_kill_switch_cannot_be_lifted_by_who_has_not_the_key():
    table = json.loads(ORDERS.signed(KEY))
    table["payload"]["stop"] = False
    with pytest.raises(SignatureError, match="not signed by the key"):
        Orders.read(json.dumps(table).encode(), SIGNER)


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": -1},
        {"sequence": 2**53},
        {"sequence": True},
        {"sequence": "1"},
        {"stop": 1},
        {"stop": None},
        {"stop": "false"},
        {"catalogue_version": 1.5},
        {"model_version": None},
        {"reason": "x" * 501},
        {"reason": 3},
        {"sequence": None},
    ],
    ids=str,
)
def test_signed_orders_that_say_nonsense_are_refused(change):
    table = {**json.loads(ORDERS.signed(KEY))["payload"], **change}
    with pytest.raises(SignatureError, match="malformed"):
        Orders.read(sign_document("orders", table, KEY), SIGNER)


def test_a_manifest_is_no_order():
    with pytest.raises(SignatureError, match="another kind"):
        Orders.read(sign_document("manifest", {"sequence": 10}, KEY), SIGNER)


@pytest.mark.parametrize(
    "change",
    [{"canary_version": 3}, {"canary_permille": 10}, {"canary_version": 3, "canary_permille": 1001}],
)
def test_a_share_of_devices_goes_with_the_version_that_it_gets(change):
    with pytest.raises(ValueError, match="canary_permille must be from 1 to 1000 where there is a canary, else 0"):
        Orders(sequence=1, **change)
