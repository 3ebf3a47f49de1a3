import pytest

from simulations.benches.privacy_correlation import banded_error_table


@pytest.mark.parametrize(
    ("rounds", "separation"), [(60, 6), pytest.param(1000, 50, marks=pytest.mark.slow)], ids=["60", "1000"]
)
def test_at_equal_epsilon_banded_noise_is_less_than_the_tree_s_and_that_than_independent_noise(rounds, separation):
    table = banded_error_table(rounds, separation)
    assert table["lower_bound"] <= table["banded"] < table["tree"] < table["independent"]
    assert table["banded"] <= 1.05 * table["lower_bound"]
    assert table["banded"] < table["banded_equal_norms"]


def test_fewer_participations_than_the_pattern_allows_are_refused():
    with pytest.raises(ValueError, match="allow 10 participations"):
        banded_error_table(60, 6, 5)
