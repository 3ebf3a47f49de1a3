"""Lists in options have commas between their values, and what is no list is refused by the option's name."""

import pytest

from fedrec.cli.listed import names, shares, whole_numbers
from fedrec.errors import ConfigError


def test_values_are_read_in_their_order():
    assert names(" a, b,,c ") == ["a", "b", "c"]
    assert whole_numbers("2, 0,10", "--seeds") == [2, 0, 10]
    assert shares("0.5,1", "--fractions") == [0.5, 1.0]


@pytest.mark.parametrize("text", ["", "1,one", "-1", "1.5", "0"])
def test_what_is_no_whole_number_from_the_least_on_is_refused(text):
    with pytest.raises(ConfigError, match="--users takes whole numbers from 1 on"):
        whole_numbers(text, "--users", least=1)


@pytest.mark.parametrize("text", ["", "0", "1.1", "half", "nan"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ConfigError, match="--fractions takes shares"):
        shares(text, "--fractions")
