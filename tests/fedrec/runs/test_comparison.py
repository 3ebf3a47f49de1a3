import numpy as np
import pytest

from fedrec.config import Scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import RankingResult
from fedrec.evaluation.significance import holm
from fedrec.runs.comparison import compare_runs
from fedrec.runs.folder import RunFolder

USERS = np.arange(200)


@pytest.fixture
def make_run(tmp_path, summary):
    """Make an ended run whose users' hits are given."""

    def make(name, hits, users=USERS, **protocol):
        folder = RunFolder.create(tmp_path / name, Scenario())
        changed = summary.protocol.model_copy(update=protocol)
        folder.write_summary(summary.model_copy(update={"name": name, "protocol": changed}))
        folder.write_per_user({"model": RankingResult(users=users, values={"hr@10": hits, "mrr": hits / 2})})
        return folder

    return make


@pytest.fixture
def hits():
    return np.random.default_rng(0).random(200)


def test_differences_are_against_the_first_run_user_by_user(make_run, hits):
    runs = [make_run("first", hits), make_run("better", hits + 0.1), make_run("equal", hits)]

    first, better, equal = compare_runs(runs, np.random.default_rng(0))

    assert first.differences is None
    assert better.differences["hr@10"].mean == pytest.approx(0.1)
    assert better.differences["hr@10"].low == pytest.approx(0.1)
    assert better.differences["mrr"].mean == pytest.approx(0.05)
    assert equal.differences["hr@10"].low <= 0 <= equal.differences["hr@10"].high


def test_p_is_corrected_for_how_many_runs_are_held_against_the_first(make_run, hits):
    rng = np.random.default_rng(5)
    runs = [make_run("first", hits)]
    runs += [make_run(f"other-{n}", hits + rng.normal(0.05, 0.5, 200)) for n in range(3)]

    others = compare_runs(runs, np.random.default_rng(0))[1:]

    p, corrected = zip(*((run.differences["mrr"].p, run.differences["mrr"].p_holm) for run in others), strict=True)
    assert list(corrected) == holm(p)


def test_a_difference_that_is_the_same_for_everybody_is_significant_and_none_is_not(make_run, hits):
    runs = [make_run("first", hits), make_run("better", hits + 0.1), make_run("equal", hits)]

    _, better, equal = compare_runs(runs, np.random.default_rng(0))

    assert better.differences["hr@10"].is_significant
    assert equal.differences["hr@10"].p == 1.0


def test_only_metrics_that_all_runs_have_are_compared(make_run, hits):
    other = make_run("other", hits)
    other.write_per_user({"model": RankingResult(users=USERS, values={"hr@5": hits, "mrr": hits})})

    _, compared = compare_runs([make_run("first", hits), other], np.random.default_rng(0))

    assert list(compared.differences) == ["mrr"]


def test_the_same_runs_and_seed_give_the_same_intervals(make_run, hits):
    runs = [make_run("first", hits), make_run("other", hits[::-1])]

    once, again = (compare_runs(runs, np.random.default_rng(3))[1].differences for _ in range(2))

    assert once == again


def test_another_protocol_is_refused_with_the_reason_and_the_remedy(make_run, hits):
    runs = [make_run("first", hits), make_run("other", hits, fingerprint="0" * 64, source="synthetic")]

    with pytest.raises(ConfigError, match=r"source is ml-100k there, synthetic here.*repeat one of them"):
        compare_runs(runs, np.random.default_rng(0))


def test_another_split_of_the_same_data_is_refused_too(make_run, hits):
    runs = [make_run("first", hits), make_run("other", hits, fingerprint="0" * 64)]

    with pytest.raises(ConfigError, match=r"\(the split differs\)"):
        compare_runs(runs, np.random.default_rng(0))


def test_one_run_is_nothing_to_compare(make_run, hits):
    with pytest.raises(ConfigError, match="at least two runs"):
        compare_runs([make_run("first", hits)], np.random.default_rng(0))


def test_values_of_other_users_are_refused(make_run, hits):
    runs = [make_run("first", hits), make_run("other", hits, users=USERS + 1)]

    with pytest.raises(DataError, match=r"per_user\.npz holds other users"):
        compare_runs(runs, np.random.default_rng(0))


def test_values_without_the_model_are_refused(make_run, hits):
    run = make_run("first", hits)
    run.write_per_user({"popularity": RankingResult(users=USERS, values={"mrr": hits})})

    with pytest.raises(DataError, match="has no values of the model"):
        compare_runs([run, run], np.random.default_rng(0))
