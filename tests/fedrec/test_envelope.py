"""Envelopes and cards as values: strict at birth, and signed in every field."""

import subprocess
import sys
from dataclasses import asdict, fields, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedrec.envelope import CardStatement, Envelope, Seal
from fedrec.errors import SignatureError
from fedrec.signing.device_keys import public_pem, sign_statement

ENVELOPE = Envelope(
    contribution="update",
    run_id="run-1",
    round=3,
    nonce="1" * 32,
    model_digest="a" * 64,
    catalogue_digest="b" * 64,
    catalogue_version=2,
    policy_digest="c" * 64,
    sequence=5,
    key="node-1",
    num_users=1,
    reply_digest="d" * 64,
)
COUNTS = ("round", "catalogue_version", "sequence", "num_users")
CARD = CardStatement(run_id="run-1", challenge="2" * 32, key="node-1", num_users=1, catalogue_digest="b" * 64)


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def other(value: object) -> object:
    if isinstance(value, int):
        return value + 1
    return value[:-1] + ("a" if value[-1] != "a" else "b")


def test_a_seal_is_read_as_it_is_written_and_verifies(key):
    seal = ENVELOPE.sealed(key)
    assert Seal.from_fields(seal.to_fields()) == seal
    seal.verify(public_pem(key))


@pytest.mark.parametrize("field", [field.name for field in fields(Envelope)])
def test_every_field_of_an_envelope_is_signed(key, field):
    seal = ENVELOPE.sealed(key)
    changed = replace(ENVELOPE, **{field: other(getattr(ENVELOPE, field))})
    with pytest.raises(SignatureError):
        replace(seal, envelope=changed).verify(public_pem(key))


@pytest.mark.parametrize("field", [field.name for field in fields(CardStatement)])
def test_every_field_of_a_card_is_signed(key, field):
    signature = CARD.sign(key)
    CARD.verify(signature, public_pem(key))
    with pytest.raises(SignatureError):
        replace(CARD, **{field: other(getattr(CARD, field))}).verify(signature, public_pem(key))


def test_a_card_is_no_reply_and_a_reply_no_card(key):
    as_card = Seal(envelope=ENVELOPE, signature=sign_statement("card", asdict(ENVELOPE), key))
    with pytest.raises(SignatureError):
        as_card.verify(public_pem(key))
    with pytest.raises(SignatureError):
        CARD.verify(sign_statement("reply", asdict(CARD), key), public_pem(key))


@pytest.mark.parametrize(
    "change",
    [
        *(
            {name: value}
            for name in ("round", "catalogue_version", "sequence", "num_users")
            for value in (-1, True, 1.0)
        ),
        *({name: 2**53} for name in ("catalogue_version", "sequence")),
        *({name: 2**31} for name in ("round", "num_users")),
        *({name: "a" * 63} for name in ("model_digest", "catalogue_digest", "policy_digest", "reply_digest")),
        *({name: "../x"} for name in ("run_id", "key", "nonce", "contribution")),
        *({name: None} for name in ("run_id", "key", "nonce", "contribution")),
        {"key": "node-1\n"},
    ],
    ids=str,
)
def test_an_envelope_out_of_its_form_is_none(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(ENVELOPE, **change)


@pytest.mark.parametrize("signature", ["", "0", "zz" * 50, "00" * 7, "00" * 129, None, 3], ids=str)
def test_a_signature_out_of_its_form_is_none(signature):
    with pytest.raises(ValueError, match="signature"):
        Seal(envelope=ENVELOPE, signature=signature)


@pytest.mark.parametrize("name", [*(field.name for field in fields(Envelope)), "signature"])
def test_a_seal_that_lacks_a_field_or_has_one_more_is_refused_by_name(key, name):
    written = ENVELOPE.sealed(key).to_fields()
    with pytest.raises(ValueError, match="surplus is surplus"):
        Seal.from_fields({**written, "surplus": 1})
    del written[name]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        Seal.from_fields(written)


def test_envelopes_need_neither_torch_nor_flwr():
    program = "import sys, fedrec.envelope; print(sorted({'torch', 'flwr'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
