import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.runs.toml import to_toml

encodable = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.booleans() | st.integers() | st.floats(allow_nan=False) | encodable
values = scalars | st.lists(st.integers()) | st.lists(encodable) | st.lists(st.lists(st.booleans()))
tables = st.recursive(
    st.dictionaries(encodable, values), lambda inner: st.dictionaries(encodable, values | inner), max_leaves=8
)


@given(tables)
def test_what_is_written_is_read_back(table):
    assert tomllib.loads(to_toml(table)) == table


def test_sections_are_tables_and_their_parts_subtables():
    text = to_toml({"training": {"rounds": 3, "local": {"steps": 1}}, "run": {"name": "a"}})

    assert text == '[training]\nrounds = 3\n\n[training.local]\nsteps = 1\n\n[run]\nname = "a"\n'


def test_what_has_no_value_is_left_out():
    assert to_toml({"data": {"items": None, "k_core": 0}}) == "[data]\nk_core = 0\n"


def test_what_toml_cannot_hold_is_refused():
    with pytest.raises(TypeError, match="TOML has no form for object"):
        to_toml({"data": object()})
