"""What is signed: one form for one value, and the kind in front of it."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.signing.canonical import canonical_bytes

leaves = st.integers() | st.text(max_size=4) | st.booleans() | st.none()
flat = st.dictionaries(st.text(max_size=3), leaves, max_size=3)
few = settings(max_examples=30, deadline=None)


@few
@given(flat)
def test_the_order_of_keys_does_not_count(payload):
    assert canonical_bytes("card", payload) == canonical_bytes("card", dict(reversed(payload.items())))


@few
@given(flat, flat)
def test_two_payloads_have_two_forms(one, other):
    assert (canonical_bytes("card", one) == canonical_bytes("card", other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@few
@given(st.text("abc/-1\n", max_size=6), st.text("abc/-1\n", max_size=6), flat, flat)
def test_no_kind_with_a_payload_looks_like_another_kind_with_one(kind, other_kind, payload, other):
    if kind != other_kind and "\n" not in kind + other_kind:
        assert canonical_bytes(kind, payload) != canonical_bytes(other_kind, other)


def test_the_form_is_as_it_is_written_down():
    assert canonical_bytes("card", {"b": [1, "ü"], "a": None}) == 'fedrec/card/1\n{"a":null,"b":[1,"ü"]}'.encode()
