"""Orders in a fleet of several versions: whatever is said beside them, every device hears the kill switch."""

import json
from dataclasses import asdict, dataclass, replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from clients.supervisor.orders import follow, standing
from fedrec.errors import SignatureError
from fedrec.signing.documents import sign_document
from fedrec.signing.orders import Orders

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = KEY.public_key().public_bytes_raw().hex()
ROLLING = Orders(
    sequence=9, model_version=3, canary_version=4, canary_permille=10, pace_opens=5, pace_every=3600, pace_width=300
)


# --- the first version's reader, as it was: do not mend it ---------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class FrozenOrders:
    """Orders as the first devices knew them."""

    sequence: int
    stop: bool = False
    catalogue_version: int = 0
    model_version: int = 0
    reason: str = ""

    def __post_init__(self):
        for name in ("sequence", "catalogue_version", "model_version"):
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) < 2**53:
                raise ValueError(name)
        if type(self.stop) is not bool or not isinstance(self.reason, str) or len(self.reason) > 500:
            raise ValueError("stop or reason")


def frozen_read(content: bytes, signer: str) -> FrozenOrders:
    """Read orders as the first devices did: every unknown field of the payload is refused."""
    try:
        table = json.loads(content)
        payload, signature = table["payload"], bytes.fromhex(table["signature"])
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        if table.get("kind") != "orders":
            raise SignatureError("another kind")
        signed = f"fedrec/orders/1\n{text}".encode()
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(signature, signed)
        return FrozenOrders(**payload)
    except (ValueError, KeyError, TypeError, RecursionError, InvalidSignature) as error:
        raise SignatureError(str(error)) from error


# --------------------------------------------------------------------------------------------------------------------
def test_a_device_of_the_first_version_hears_the_kill_switch_while_a_model_is_rolled_out():
    heard = frozen_read(replace(ROLLING, stop=True, reason="a bug").signed(KEY), SIGNER)
    assert heard == FrozenOrders(sequence=9, stop=True, model_version=3, reason="a bug")


def test_its_reader_refuses_what_used_to_be_sent():
    with pytest.raises(SignatureError):
        frozen_read(sign_document("orders", asdict(ROLLING), KEY), SIGNER)


def test_a_server_signs_nothing_that_the_first_version_cannot_read(tmp_path):
    from server.door.publications import Publications

    published = Publications.create(tmp_path / "public", KEY)
    (tmp_path / "model.bin").write_bytes(b"x")
    for permille in (1000, 10):
        published.publish("model", "d" * 64, {"model.bin": tmp_path / "model.bin"}, permille=permille)
    published.pace(ROLLING.pace)
    published.stop(True)
    content = (tmp_path / "public" / "orders.json").read_bytes()
    assert frozen_read(content, SIGNER).stop
    assert published.orders().pace == ROLLING.pace
    assert published.orders().canary_version == 2


@given(
    stop=st.booleans(),
    versions=st.tuples(*[st.integers(0, 2**53 - 1)] * 3),
    permille=st.integers(1, 1000),
    reason=st.text(max_size=500),
)
def test_old_and_new_devices_read_the_same_but_for_hints(stop, versions, permille, reason):
    catalogue, model, canary = versions
    orders = Orders(
        sequence=7,
        stop=stop,
        catalogue_version=catalogue,
        model_version=model,
        reason=reason,
        canary_version=canary,
        canary_permille=permille if canary else 0,
    )
    content = orders.signed(KEY)
    assert Orders.read(content, SIGNER, whole=True) == orders
    old = asdict(frozen_read(content, SIGNER))
    assert old == {name: getattr(orders.bare, name) for name in old}


def test_orders_that_were_signed_before_the_two_were_apart_are_read():
    assert Orders.read(sign_document("orders", asdict(ROLLING), KEY), SIGNER, whole=True) == ROLLING


def test_fields_that_a_later_server_adds_are_passed_over():
    said = {**asdict(ROLLING.bare), "stop": True, "weather": "fair"}
    table = json.loads(sign_document("orders", said, KEY))
    table["hints"] = json.loads(sign_document("order-hints", {"sequence": 9, "moon": [1], "pace_every": 60}, KEY))
    heard = Orders.read(json.dumps(table).encode(), SIGNER)
    assert heard.stop  # a width of 0 makes no hint: what cannot be used is left out


@pytest.mark.abuse
@pytest.mark.parametrize("spoil", ["altered", "of-another-number", "no-document", "gone"])
def test_spoilt_hints_keep_no_device_from_the_kill_switch(device, signing_key, spoil):
    table = json.loads(replace(ROLLING, stop=True).signed(signing_key))
    if spoil == "altered":
        table["hints"]["payload"]["canary_permille"] = 1000
    elif spoil == "of-another-number":
        table["hints"] = json.loads(replace(ROLLING, sequence=8).signed(signing_key))["hints"]
    elif spoil == "no-document":
        table["hints"] = [[]]
    else:
        del table["hints"]
    heard = follow(device, json.dumps(table).encode())
    assert heard.stop
    assert heard == heard.bare
    if spoil != "gone":
        signer = signing_key.public_key().public_bytes_raw().hex()
        with pytest.raises(SignatureError, match="hints beside"):
            Orders.read(json.dumps(table).encode(), signer, whole=True)


@pytest.mark.abuse
def test_who_cuts_hints_off_on_the_way_takes_none_back(device, signing_key):
    whole = ROLLING.signed(signing_key)
    cut = ROLLING.bare.signed(signing_key)
    assert follow(device, cut) == ROLLING.bare
    assert follow(device, whole) == ROLLING
    assert follow(device, cut) == ROLLING
    assert standing(device) == ROLLING
    with pytest.raises(SignatureError, match="two different"):
        follow(device, replace(ROLLING, canary_permille=20).signed(signing_key))
