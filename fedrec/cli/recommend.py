"""``fedrec recommend``: a list for a user whom no run has seen, from raw item ids, with a trained run's model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from fedrec.cli.output import write_json, write_table
from fedrec.cli.reasons import explained_record, write_reasons
from fedrec.config import LocalConfig
from fedrec.data.canaries import reserved_items
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError
from fedrec.explanations.reasons import Reason, explain
from fedrec.explanations.scorer import folding_scorer, one_user, total
from fedrec.models import FusedRecommender, SharedState, build_model
from fedrec.ranking import top_k
from fedrec.runs.folder import RunFolder
from fedrec.training.attention import sequence_attention
from fedrec.training.cold_items import with_cold_items
from fedrec.training.scoring import fold_in, item_vectors
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
    """One line of the list. ``reason``: None where none was asked for."""

    item: int
    score: float
    reason: Reason | None


def recommend(
    run: Annotated[Path, typer.Option("--run", help="The folder of a run.")],
    history: Annotated[str, typer.Option("--history", metavar="ID,ID,...", help="Raw item ids, oldest first.")],
    k: Annotated[int, typer.Option("--k", min=1, help="How many items.")] = 10,
    with_reasons: Annotated[bool, typer.Option("--explain", help="Say why each item is on the list.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, reasons included, instead of text.")] = False,
) -> None:
    """Recommend to a user never seen before, from raw item ids.

    The user's private parameters are fitted here and now and stay in this process, as do the reasons; nothing is
    written.
    """
    trained = load_trained(RunFolder.open(run))
    codes = read_history(history, trained.catalogue)
    picks = choose(trained, codes, k, with_reasons=with_reasons or as_json)
    attention = attention_to(trained, codes) if with_reasons or as_json else None
    if as_json:
        write_json({"run": str(run), **explained_record(trained.catalogue, codes, picks, attention)})
        return
    rows = [
        [f"{rank}. {trained.catalogue.titles[pick.item]}", trained.catalogue.item_ids[pick.item], f"{pick.score:.2f}"]
        for rank, pick in enumerate(picks, 1)
    ]
    write_table("recommended", ["title", "item", "score"], rows)
    if with_reasons:
        write_reasons(trained.catalogue, codes, picks, attention)


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
    shared = with_cold_items(model, state.served, catalogue, state.popularity)
    return Trained(catalogue=catalogue, model=model, shared=shared, local=local if fitted_as_trained else None)


def read_history(text: str, catalogue: Catalogue) -> NDArray[np.int32]:
    """Return the codes of comma-separated raw ids; ``DataError`` with near ids for one that is not known."""
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if not ids:
        raise ConfigError("--history names no item: give at least one raw item id, several separated by commas")
    return np.array([catalogue.code_of(item_id) for item_id in ids], dtype=np.int32)


def choose(trained: Trained, history: NDArray[np.int32], k: int, *, with_reasons: bool) -> list[Pick]:
    """Return the ``k`` best items that are not in the history, best first, with reasons where they are asked for."""
    score = folding_scorer(trained.model, trained.shared, trained.local)
    scores = total(score(one_user(history)))[0]
    items = top_k(scores, k, np.append(history, reserved_items(trained.catalogue)).astype(np.int32)).tolist()
    reasons: list[Reason] | list[None] = [None] * len(items)
    if with_reasons:
        vectors = item_vectors(trained.model, trained.shared)
        reasons = explain(items, history, score=score, vectors=vectors, catalogue=trained.catalogue)
    return [
        Pick(item=item, score=float(scores[item]), reason=reason) for item, reason in zip(items, reasons, strict=True)
    ]


def attention_to(trained: Trained, history: NDArray[np.int32]) -> NDArray[np.float32] | None:
    """Return how much the sequence branch looks at each event, float32 ``[num_events]``; None if it does not tell."""
    histories = one_user(history)
    private = fold_in(trained.model, trained.shared, histories, trained.local)
    looked = sequence_attention(trained.model, trained.shared, private, histories)
    if looked is None:
        return None
    recent = min(len(history), trained.model.config.history_length)
    weights = np.zeros(len(history), np.float32)
    weights[len(history) - recent :] = looked[0, :recent]
    return weights
