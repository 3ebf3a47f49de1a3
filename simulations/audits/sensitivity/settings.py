"""Settings of training that between them take every path of the cohort engine, and a run's own, made small."""

from collections.abc import Sequence
from dataclasses import replace

from fedrec.config import LocalConfig, ModelConfig, Scenario
from fedrec.training import draws
from simulations.audits.sensitivity.cases import draw_case
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Case
from simulations.audits.sensitivity.training import Training

FAST = 20.0
"""A learning rate under which nearly every update is longer than its clip norm."""

ALL = ("busy", "avid", "faithful", "endless", "alternating", "everything", "once", "nothing", "extreme")

SAMPLED = ("avid", "alternating", "faithful", "busy", "endless", "everything", "once", "nothing", "extreme")
"""The same where losses are against items that a user has not met: who has met all of them sits out."""

SMALL_DIM, SMALL_HISTORY = 4, 5
"""What a run's own model is shrunk to."""


def _model(*branches: str, dim: int = 4, length: int = 5, **rest: object) -> ModelConfig:
    return ModelConfig.model_validate(
        {"dim": dim, "history_length": length, "dropout": 0.0, "branches": branches, **rest}
    )


def _local(**settings: object) -> LocalConfig:
    return LocalConfig.model_validate({"learning_rate": FAST, "num_negatives": 4, "private_steps": 2, **settings})


def common_steps(*, quick: bool = False) -> tuple[Training, ...]:
    """Return settings of one step from common weights, whose norms are computed without users' own tables.

    ``quick``: those that differ in how norms are computed, here and in the other functions.
    """
    some = (
        Training(model=_model("cf", "mf", "seq"), local=_local(), kinds=("busy", *ALL)),
        # Few positions and wide vectors: norms from products of odds. Items that come twice make the middle terms.
        Training(model=_model("cf", dim=16, length=4), local=_local(), spread=0.1, kinds=("faithful", *ALL)),
        Training(model=_model("cf", "mf"), local=_local(), kinds=("faithful", "alternating", *ALL)),
        Training(model=_model("mf"), local=_local(), kinds=ALL),
        Training(model=_model("mf", item_embeddings=False), local=_local(), spread=3.0, kinds=ALL),
        Training(model=_model("cf"), local=_local(), huge=True, spread=1.0, kinds=("early", "everything", *ALL)),
        # Squares of such gradients are below the smallest float32: a server that nobody trusts may choose them.
        Training(model=_model("cf"), local=_local(learning_rate=1.0), scale=1e-24, clip_norm=1e-30, kinds=ALL),
    )
    if quick:
        return some
    return (
        *some,
        Training(model=_model("cf", "mf"), local=_local(), content="texts", kinds=ALL),
        Training(model=_model("mf"), local=_local(private_start="ridge"), kinds=ALL),
        Training(model=_model("mf"), local=_local(private_start="rebuilt"), kinds=ALL),
        Training(model=_model("cf", "mf", id_dropout=0.5), local=_local(), kinds=ALL),
        Training(model=_model("mf", "neighbours"), local=_local(), kinds=ALL),
        Training(model=_model("seq", sequence_encoder="lstm"), local=_local(), kinds=ALL),
        Training(model=_model("seq", sequence_encoder="sasrec"), local=_local(), kinds=ALL),
        Training(model=_model("seq", sequence_encoder="cnn"), local=_local(), kinds=ALL),
        Training(model=_model("seq", sequence_scope="private"), local=_local(), kinds=ALL),
        Training(model=_model("cf", "seq", sequence_scope="hybrid"), local=_local(), kinds=ALL),
        Training(model=_model("cf"), local=_local(), content="images", kinds=ALL),
    )


def factor_steps(*, quick: bool = False) -> tuple[Training, ...]:
    """Return settings of matrix factorisation alone, whose updates are kept as factors."""
    mf = _model("mf")
    sampled = tuple(
        Training(model=mf, local=_local(loss=loss, steps=2), kinds=SAMPLED)
        for loss in ("bpr", "sampled-softmax", "bce", "triplet")
    )
    some = (
        Training(model=mf, local=_local(steps=3), kinds=ALL),
        *sampled[:1],
        Training(model=mf, local=_local(loss="mse"), kinds=("extreme", *ALL)),
        Training(model=mf, local=_local(steps=2, learning_rate=1e-25), clip_norm=1e-30, kinds=ALL),
    )
    if quick:
        return some
    return (
        *some,
        *sampled[1:],
        Training(model=mf, local=_local(loss="bpr", private_start="rebuilt"), kinds=SAMPLED),
        Training(model=mf, local=_local(epochs=1, proximal=0.1), kinds=tuple(k for k in ALL if k != "endless")),
    )


def own_copies(*, quick: bool = False) -> tuple[Training, ...]:
    """Return settings under which each user trains a copy of its own."""
    passes = tuple(kind for kind in ALL if kind != "endless")
    some = (
        Training(model=_model("cf", "mf"), local=_local(steps=2), kinds=ALL),
        Training(model=_model("cf", "mf"), local=_local(loss="bpr"), kinds=SAMPLED),
        Training(model=_model("neumf", "mf"), local=_local(), kinds=ALL),
    )
    if quick:
        return some
    return (
        *some,
        Training(model=_model("cf", "mf", "seq"), local=_local(steps=2), kinds=ALL),
        Training(model=_model("autoencoder"), local=_local(), kinds=ALL),
        Training(model=_model("siamese", "mf"), local=_local(), kinds=ALL),
        Training(model=_model("cf"), local=_local(loss="bce", steps=2), huge=True, kinds=("early", *SAMPLED)),
        Training(model=_model("mf", rating_head=True), local=_local(loss="mse"), kinds=ALL),
        Training(model=_model("cf", "mf", rating_head=True), local=_local(task_weights="uncertainty"), kinds=ALL),
        Training(model=_model("mf"), local=_local(optimizer="adam", steps=3, learning_rate=0.1), kinds=ALL),
        Training(model=_model("cf", "mf"), local=_local(epochs=1, proximal=0.1), kinds=passes),
        Training(model=_model("cf", "mf"), local=_local(steps=2, private_start="rebuilt"), kinds=ALL),
    )


def row_clips(*, quick: bool = False) -> tuple[Training, ...]:
    """Return settings that bound each row of a user's item tables, before or instead of the whole."""
    few = {"clip_norm": 0.01, "row_clip_norm": 0.008, "kinds": SAMPLED}
    many = {"clip_norm": 1000.0, "row_clip_norm": 0.002, "kinds": SAMPLED}
    paths = ((("mf",), "softmax"), (("cf", "mf"), "bpr"))
    return tuple(
        Training(model=_model(*branches), local=_local(loss=loss), **bounds)  # type: ignore[arg-type] # of a table
        for branches, loss in (paths[:1] if quick else paths)
        for bounds in (few, many)
    )


def shrunk(scenario: Scenario) -> ModelConfig:
    """Return a scenario's model with few and narrow vectors, all else as it is."""
    model = scenario.model
    heads = 2 if SMALL_DIM % model.sequence_heads else model.sequence_heads
    return model.model_copy(
        update={
            "dim": SMALL_DIM,
            "history_length": min(model.history_length, SMALL_HISTORY),
            "sequence_heads": heads,
            "ials_dim": min(model.ials_dim, 3),
            "pca_dim": min(model.pca_dim, 2),
            "nearby_dim": min(model.nearby_dim, 2),
            "recency_end": model.recency_end or 2e6,
        }
    )


def of_scenario(scenario: Scenario) -> tuple[Training, ...]:
    """Return a run's own training, under its clip norm and under one that everybody meets; none without branches."""
    if not scenario.model.branches:
        return ()
    local = scenario.played.local
    local = local.model_copy(
        update={
            "steps": min(local.steps, 3),
            "epochs": min(local.epochs, 1),
            "num_negatives": min(local.num_negatives, 4),
            "private_steps": min(local.private_steps, 3),
        }
    )
    privacy, telling = scenario.privacy, SAMPLED if local.loss in draws.SAMPLED else ALL
    own = Training(
        model=shrunk(scenario),
        local=local,
        clip_norm=privacy.clip_norm,
        row_clip_norm=privacy.row_clip_norm if privacy.clipping == "rows" else None,
        content="texts" if scenario.data.text else "images" if scenario.data.images else "attributes",
        kinds=tuple(kind for kind in telling if kind != "endless" or not local.epochs),
    )
    row = own.row_clip_norm and own.row_clip_norm / 1000
    return (replace(own, clip_norm=own.clip_norm / 1000, row_clip_norm=row), own)


def draw_training_case(draw: Draw, settings: Sequence[Training]) -> Case:
    """Draw one of the settings with other numbers, a cohort, and who of it goes or is replaced."""
    setting = draw.one_of(settings)
    times = draw.one_of((1.0, 0.01, 100.0))
    setting = replace(
        setting,
        clip_norm=setting.clip_norm * times,
        row_clip_norm=setting.row_clip_norm and setting.row_clip_norm * times,
        spread=draw.one_of((0.3, 0.0, 3.0)),
        seed=draw.integer(0, 3),
    )
    return draw_case(draw, setting)
