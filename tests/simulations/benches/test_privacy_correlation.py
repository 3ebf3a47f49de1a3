import re
from pathlib import Path

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


PAGE = Path(__file__).resolve().parents[3] / "docs" / "correlated-noise.md"
ROWS = [
    [float(cell.strip(" *").replace(",", "")) for cell in line.split("|")[2:-1]]
    for line in re.findall(r"^\| 100.*$", PAGE.read_text("utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize(
    ("place", "rounds", "separation"),
    [
        (0, 100, 10),
        pytest.param(1, 1000, 50, marks=pytest.mark.slow),
        pytest.param(2, 1000, 10, marks=pytest.mark.slow),
    ],
)
def test_the_page_on_correlated_noise_has_what_is_computed(place, rounds, separation):
    found = banded_error_table(rounds, separation)
    independent, tree, equal, banded, bound, ratio = ROWS[place]
    assert (independent, tree) == (found["independent"], round(found["tree"]))
    assert (banded, bound, ratio) == pytest.approx(
        [found[name] for name in ("banded", "lower_bound", "banded_over_lower_bound")], rel=1e-3
    )
    assert equal == pytest.approx(found["banded_equal_norms"], rel=0.02)  # where its solver stops hangs on rounding
