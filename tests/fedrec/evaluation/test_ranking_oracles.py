"""Our metrics against those of two public libraries, on rankings without ties, where all definitions agree."""

import numpy as np
import pytest

from fedrec.data.histories import Histories
from fedrec.evaluation.metrics import evaluate_ranking

KS = (1, 5, 10)


@pytest.fixture(scope="module")
def case():
    """60 users, 40 items in random order, none seen, 1 to 4 of them relevant."""
    rng = np.random.default_rng(7)
    scores = rng.permuted(np.tile(np.arange(40, dtype=np.float32), (60, 1)), axis=1)
    targets = [rng.choice(40, size, replace=False).tolist() for size in rng.integers(1, 5, 60)]
    result = evaluate_ranking(scores, Histories.from_lists([[]] * 60), Histories.from_lists(targets), KS)
    run = {f"u{u:02}": {f"i{i}": float(score) for i, score in enumerate(row)} for u, row in enumerate(scores)}
    qrels = {f"u{u:02}": {f"i{i}": 1 for i in row} for u, row in enumerate(targets)}
    return run, qrels, result.values


def test_ir_measures_agrees_user_by_user(case):
    measures = pytest.importorskip("ir_measures")
    run, qrels, ours = case
    by_name = {f"{name}@{k}": getattr(measures, theirs) @ k for k in KS for name, theirs in THEIRS.items()}
    by_name["mrr"] = measures.RR

    found = {
        (str(measure.measure), measure.query_id): measure.value
        for measure in measures.iter_calc(list(by_name.values()), qrels, run)
    }

    for name, measure in by_name.items():
        theirs = [found[str(measure), user] for user in sorted(run)]
        np.testing.assert_allclose(ours[name], theirs, atol=1e-9, err_msg=name)


THEIRS = {"hr": "Success", "recall": "R", "precision": "P", "ndcg": "nDCG", "map": "AP"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*unsafe cast")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ranx_agrees_user_by_user(case):
    """Slow: it compiles each metric when it is first asked for."""
    ranx = pytest.importorskip("ranx")
    run, qrels, ours = case
    by_name = {f"{name}@{k}": f"{theirs}@{k}" for k in KS for name, theirs in RANX.items()} | {"mrr": "mrr"}

    found = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), list(by_name.values()), return_mean=False)

    for name, metric in by_name.items():
        np.testing.assert_allclose(ours[name], found[metric], atol=1e-6, err_msg=name)


RANX = {"hr": "hit_rate", "recall": "recall", "precision": "precision", "ndcg": "ndcg", "map": "map"}
