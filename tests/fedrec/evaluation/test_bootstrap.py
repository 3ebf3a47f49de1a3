import numpy as np
import pytest
from scipy.stats import bootstrap

from fedrec.evaluation.bootstrap import mean_interval, paired_interval, ratio_interval, result_intervals
from fedrec.evaluation.metrics import RankingResult


def test_the_interval_is_that_of_a_second_implementation(rng):
    values = rng.exponential(size=200)

    ours = mean_interval(values, 20_000, rng)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=rng).confidence_interval

    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_the_interval_of_hits_is_the_binomials(rng):
    hits = np.repeat([1.0, 0.0], [150, 850])

    interval = mean_interval(hits, 20_000, rng)

    error = np.sqrt(0.15 * 0.85 / 1000)
    assert (interval.low, interval.high) == pytest.approx((0.15 - 1.96 * error, 0.15 + 1.96 * error), abs=0.0015)


def test_95_percent_intervals_hold_the_truth_about_95_times_in_a_hundred(rng):
    intervals = [mean_interval(rng.normal(size=80), 300, rng) for _ in range(400)]

    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])

    assert covered == pytest.approx(0.94, abs=0.03)


def test_the_same_seed_gives_the_same_interval():
    values = np.arange(50.0)

    first, second = (mean_interval(values, 100, np.random.default_rng(7)) for _ in range(2))

    assert first == second


def test_pairing_finds_a_small_steady_difference_that_unpaired_noise_hides(rng):
    reference = rng.normal(size=300)
    better = reference + 0.05 + rng.normal(scale=0.1, size=300)

    paired = paired_interval(better, reference, 1000, rng)
    alone = mean_interval(better, 1000, rng)

    assert paired.mean == pytest.approx((better - reference).mean())
    assert paired.low > 0
    assert alone.low < reference.mean() < alone.high


def test_equal_runs_differ_by_nothing(rng):
    values = rng.normal(size=30)

    interval = paired_interval(values, values, 100, rng)

    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_all_metrics_of_a_result_share_their_resamples(rng):
    column = rng.random(40)
    result = RankingResult(users=np.arange(40), values={"mrr": column, "hr@1": 2 * column})

    intervals = result_intervals(result, 200, rng)

    assert intervals["hr@1"] == pytest.approx((2 * intervals["mrr"][0], 2 * intervals["mrr"][1]))


def test_more_users_than_fit_in_memory_at_once_are_resampled_in_parts(monkeypatch):
    monkeypatch.setattr("fedrec.evaluation.bootstrap._CELLS", 100)

    interval = mean_interval(np.arange(30.0), 2000, np.random.default_rng(0))

    assert interval.low < interval.mean < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.arange(30).std() / np.sqrt(30), rel=0.1)


@pytest.mark.parametrize(
    ("values", "resamples", "confidence", "complaint"),
    [
        (np.empty(0), 100, 0.95, "at least one user"),
        (np.ones((2, 2)), 100, 0.95, "one number a user"),
        (np.ones(3), 0, 0.95, "resamples >= 1"),
        (np.ones(3), 100, 1.0, "confidence in"),
    ],
)
def test_nonsense_is_refused(rng, values, resamples, confidence, complaint):
    with pytest.raises(ValueError, match=complaint):
        mean_interval(values, resamples, rng, confidence)


def test_pairs_need_the_same_users(rng):
    with pytest.raises(ValueError, match="paired values need the same users"):
        paired_interval(np.ones(3), np.ones(4), 100, rng)


def test_the_interval_of_a_ratio_is_that_of_a_second_implementation(rng):
    values, reference = rng.random(150), rng.random(150) + 0.5

    ours = ratio_interval(values, reference, 10_000, rng)
    theirs = bootstrap(
        (values, reference),
        lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis),
        paired=True,
        n_resamples=10_000,
        method="percentile",
        rng=rng,
    ).confidence_interval

    assert ours.mean == pytest.approx(values.mean() / reference.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_share_of_nothing_is_refused(rng):
    with pytest.raises(ValueError, match="ask more users"):
        ratio_interval(np.ones(5), np.array([0.0, 0.0, 0.0, 0.0, 1.0]), 200, rng)
