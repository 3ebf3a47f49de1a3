import numpy as np
import pytest

from fedrec.config import Scenario
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import RankingResult
from fedrec.runs.folder import RunFolder
from fedrec.runs.newcomers import pool_new_users
from fedrec.runs.summary import NewUsersSummary, NewUserSummary

USERS = np.arange(90)
HITS = np.random.default_rng(0).random(90) + 0.2


@pytest.fixture
def warm(tmp_path, summary):
    folder = RunFolder.create(tmp_path / "warm", Scenario())
    folder.write_summary(summary)
    folder.write_per_user({"model": RankingResult(users=USERS, values={"hr@10": HITS})})
    return folder


@pytest.fixture
def hide(tmp_path, summary):
    """Make a run that hides every third user, for whom the model reaches four fifths."""

    def make(fold, fingerprint=None, dim=64, folds=3):
        told = {"data": {"user_folds": folds, "user_fold": fold}, "model": {"dim": dim}}
        folder = RunFolder.create(tmp_path / f"fold-{fold}-{dim}-{folds}", Scenario.model_validate(told))
        users = USERS[USERS % folds == fold]
        quality = NewUserSummary(metrics={"hr@10": 0.5}, strict={"hr@10": 0.3 + fold / 10})
        found = NewUsersSummary(
            fold=fold,
            folds=folds,
            num_users=len(users),
            fingerprint=fingerprint or summary.protocol.fingerprint,
            by_events={"3": quality},
        )
        folder.write_summary(summary.model_copy(update={"new_users": found}))
        folder.write_per_user({"new users 3": RankingResult(users=users, values={"hr@10": 0.8 * HITS[users]})})
        return folder

    return make


def test_the_users_of_all_folds_are_held_against_the_same_users_of_the_warm_run(warm, hide, rng):
    pooled = pool_new_users(warm, [hide(0), hide(1), hide(2)], ["hr@10"], rng)

    (known,) = pooled.by_metric["hr@10"]
    assert pooled.num_users == 90
    assert known.label == "3"
    assert known.warm == pytest.approx(HITS.mean())
    assert known.share.mean == pytest.approx(0.8)
    assert known.share.low == pytest.approx(0.8)
    assert known.strict == pytest.approx(0.4)


def test_some_folds_are_held_against_their_own_users_alone(warm, hide, rng):
    (known,) = pool_new_users(warm, [hide(1)], ["hr@10"], rng).by_metric["hr@10"]

    assert known.warm == pytest.approx(HITS[1::3].mean())


def test_a_run_without_folds_has_no_new_users(warm, rng):
    with pytest.raises(ConfigError, match="asked no new users: run it with --set"):
        pool_new_users(warm, [warm], ["hr@10"], rng)


def test_another_protocol_another_setting_and_a_fold_twice_are_refused(warm, hide, rng):
    with pytest.raises(ConfigError, match="under another protocol"):
        pool_new_users(warm, [hide(0, fingerprint="0" * 64)], ["hr@10"], rng)
    with pytest.raises(ConfigError, match="was told otherwise"):
        pool_new_users(warm, [hide(1, dim=8)], ["hr@10"], rng)
    same = hide(2)
    with pytest.raises(ConfigError, match="must hide different folds"):
        pool_new_users(warm, [same, same], ["hr@10"], rng)


def test_a_warm_run_that_lacks_the_users_is_refused(warm, hide, rng):
    warm.write_per_user({"model": RankingResult(users=USERS[:10], values={"hr@10": HITS[:10]})})

    with pytest.raises(DataError, match="lacks users that the folds hide"):
        pool_new_users(warm, [hide(0)], ["hr@10"], rng)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
