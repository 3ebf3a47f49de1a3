"""``fedrec recommend``: a list for a user whom no run has seen, from raw item ids, with a trained run's model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from fedrec.cli.output import write_json, write_line, write_table
from fedrec.config import LocalConfig
from fedrec.data.catalogue import Catalogue
from fedrec.data.histories import Histories
from fedrec.errors import ConfigError
from fedrec.models import FusedRecommender, SharedState, build_model
from fedrec.ranking import Reason, explain, top_k
from fedrec.runs.folder import RunFolder
from fedrec.training.scoring import branch_scores, fold_in, item_vectors
from fedrec.training.cold_items import with_cold_items
from server.checkpoint import Checkpoints


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What a run leaves for recommending."""

    catalogue: Catalogue
    model: FusedRecommender
    shared: SharedState
    local: LocalConfig | None
    """How the user's private part is fitted, where the run made them anew each round; None takes the usual way."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """One line of the list."""

    item: int
    score: float
    reason: Reason


def recommend(
    run: Annotated[Path, typer.Option("--run", help="The folder of a run.")],
    history: Annotated[str, typer.Option("--history", metavar="ID,ID,...", help="Raw item ids, oldest first.")],
    k: Annotated[int, typer.Option("--k", min=1, help="How many items.")] = 10,
    with_reasons: Annotated[bool, typer.Option("--explain", help="Say what each branch and past item adds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Recommend to a user never seen before, from raw item ids.

    The user's private parameters are fitted here and now and stay in this process; nothing is written.
    """
    trained = load_trained(RunFolder.open(run))
    codes = read_history(history, trained.catalogue)
    picks = choose(trained, codes, k)
    if as_json:
        items = [_item(trained, int(code)) for code in codes]
        write_json({"run": str(run), "history": items, "recommendations": _records(trained, codes, picks)})
    else:
        _write_list(trained, picks, with_reasons)
        if with_reasons:
            _write_reasons(trained, codes, picks)


def load_trained(folder: RunFolder) -> Trained:
    """Rebuild a run's model and read its latest checkpoint; ``ModelMismatchError`` if they do not belong together."""
    scenario = folder.scenario()
    catalogue = Catalogue.load(folder.catalogue)
    model = build_model(scenario.model, catalogue, scenario.run.seed)
    state = Checkpoints(folder.checkpoints, catalogue.digest).latest(model.shared_state())
    if state is None:
        raise ConfigError(f"{folder.checkpoints} holds no checkpoint: the run has not finished a round; repeat it")
    local = scenario.training.local
    fitted_as_trained = local.private_start != "kept" and local.loss != "mse"  # a typed history has no ratings
    shared = with_cold_items(model, state.shared, catalogue, state.popularity)
    return Trained(catalogue=catalogue, model=model, shared=shared, local=local if fitted_as_trained else None)


def read_history(text: str, catalogue: Catalogue) -> NDArray[np.int32]:
    """Return the codes of comma-separated raw ids; ``DataError`` with near ids for one that is not known."""
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if not ids:
        raise ConfigError("--history names no item: give at least one raw item id, several separated by commas")
    return np.array([catalogue.code_of(item_id) for item_id in ids], dtype=np.int32)


def choose(trained: Trained, history: NDArray[np.int32], k: int) -> list[Pick]:
    """Return the ``k`` best items that are not in the history, with reasons, best first."""
    one_user = Histories.from_lists([history.tolist()])
    private = fold_in(trained.model, trained.shared, one_user, trained.local)
    branches = {name: rows[0] for name, rows in branch_scores(trained.model, trained.shared, private, one_user).items()}
    scores: NDArray[np.float32] = np.stack(list(branches.values())).sum(axis=0)
    vectors = item_vectors(trained.model, trained.shared)
    return [
        Pick(item=int(item), score=float(scores[item]), reason=explain(int(item), history, branches, vectors))
        for item in top_k(scores, k, history)
    ]


def _item(trained: Trained, code: int) -> dict[str, Any]:
    return {"item": trained.catalogue.item_ids[code], "title": trained.catalogue.titles[code]}


def _records(trained: Trained, history: NDArray[np.int32], picks: list[Pick]) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            **_item(trained, pick.item),
            "score": pick.score,
            "contributions": pick.reason.contributions,
            "nearest": [
                {**_item(trained, int(history[position])), "similarity": similarity}
                for position, similarity in pick.reason.nearest
            ],
        }
        for rank, pick in enumerate(picks, 1)
    ]


def _write_list(trained: Trained, picks: list[Pick], with_reasons: bool) -> None:
    branches = list(picks[0].reason.contributions) if picks and with_reasons else []
    rows = [
        [
            f"{rank}. {trained.catalogue.titles[pick.item]}",
            trained.catalogue.item_ids[pick.item],
            f"{pick.score:.2f}",
            *(f"{pick.reason.contributions[name]:+.2f}" for name in branches),
        ]
        for rank, pick in enumerate(picks, 1)
    ]
    write_table("recommended", ["title", "item", "score", *branches], rows)


def _write_reasons(trained: Trained, history: NDArray[np.int32], picks: list[Pick]) -> None:
    write_line("columns after the score: how far each branch lifts the item above the catalogue's mean")
    for rank, pick in enumerate(picks, 1):
        near = "; ".join(
            f"{trained.catalogue.titles[int(history[position])]} ({similarity:.2f})"
            for position, similarity in pick.reason.nearest
            if similarity > 0
        )
        reason = f"nearest in the history: {near}" if near else "nothing in the history is near it"
        write_line(f"{rank}. {trained.catalogue.titles[pick.item]}: {reason}")
