import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.errors import ConfigError
from fedrec.toml import read_toml, to_toml

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


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"device\.toml does not exist: make the device"):
        read_toml(tmp_path / "device.toml", missing="make the device")


@pytest.mark.parametrize("content", [b"epsilon = ", b"\xff\xfe"])
def test_what_is_no_toml_is_named(content, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"policy\.toml is not valid TOML"):
        read_toml(path, missing="write one")
