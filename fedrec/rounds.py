"""The round's protocol as values: what a server asks of a node and what a node may answer. Knows no transport."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedrec.config import CodecConfig, InteractionConfig, LocalConfig, ModelConfig, TrainingConfig
from fedrec.envelope import Seal
from fedrec.models.split import ITEM_FACTORS, UNOBSERVED, SharedState, read_in_training
from fedrec.privacy.mechanism import Mechanism
from fedrec.statistics.collection import statistics_name

EncodedUpdate = NewType("EncodedUpdate", dict[str, Tensor])
"""A sum of contributions as it travels, by the names that its codec gives (``fedrec.codecs``)."""


class Contribution(StrEnum):
    """What each participating user adds to the round's sum."""

    UPDATE = "update"
    """The change of the user's own copy of all shared parameters after local training."""
    POPULARITY = "popularity"
    """The user's distinct items, and what else the model is started from: ``fedrec.statistics``, bounded together."""
    FACTORS = "factors"
    """What item vectors are solved from, for the user's vector in closed form (``fedrec.members.implicit_als``)."""
    FUSION = "fusion"
    """The gradient of the fusion's weights at the event that the user holds back (``fedrec.training.calibration``)."""

    RANKS = "ranks"
    """A one at the rank of the event that the user holds back for evaluation (``fedrec.evaluation.rank_histogram``)."""


def contribution_of(training: TrainingConfig, number: int) -> Contribution:
    """Return what users add in a round: statistics in round 0, then the stages of ``TrainingConfig`` in their order."""
    ends = {
        Contribution.POPULARITY: 0,
        Contribution.UPDATE: training.rounds,
        Contribution.FACTORS: training.rounds + training.ials_rounds,
        Contribution.FUSION: training.released_rounds,
    }
    return next((stage for stage, end in ends.items() if number <= end), Contribution.RANKS)


class RefusalReason(StrEnum):
    """Why a node did not do what it was asked; none of them depends on private rows."""

    CONSENT = "consent"
    BUDGET = "budget"
    NOISE = "noise-below-policy"
    CLIP = "clip-above-policy"
    TENSORS = "unknown-tensors"
    CATALOGUE = "other-catalogue"
    MODEL = "other-model"
    PARTICIPANTS = "unknown-participants"
    PROTOCOL = "malformed-task"
    MEMORY = "memory-below-need"
    PARTICIPATION = "participation-contract"
    UPGRADE = "upgrade-required"
    TOO_SOON = "too-soon"
    BYTES = "bytes-above-policy"
    COHORT = "cohort-below-policy"
    NOT_ALLOWED = "task-not-allowed"
    SUSPICIOUS = "suspicious-model"
    CLOCK = "clock-unsure"
    SPACE = "no-space"


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """What the server sends to one node for one round."""

    run_id: str
    round: int
    nonce: str
    """Unique to (run, round, node, attempt); the reply repeats it."""
    contribution: Contribution
    shared: SharedState
    """What the contribution reads: ``carried``."""
    model: ModelConfig
    model_digest: str
    """``structure_digest`` of the shared state."""
    catalogue_digest: str
    participants: NDArray[np.int64]
    """Positions of this round's users in the node's own frozen roster, ascending."""
    local: LocalConfig
    mechanism: Mechanism | None
    """How the sum will be released; None trains without user-level privacy and without clipping."""
    interaction: InteractionConfig | None = None
    """The interaction-level layer on the device, if asked for."""
    codec: CodecConfig = field(default_factory=CodecConfig)
    """What updates are to be encoded with; ``fedrec.codecs.replies`` says which replies are."""


def carried(contribution: Contribution, shared: SharedState) -> SharedState:
    """Return those of a model's shared parameters that a task of this kind carries: all where users are scored.

    The members' tensors grow with the square of the catalogue, and training reads none of them.
    """
    if contribution in (Contribution.FUSION, Contribution.RANKS):
        return shared
    if contribution is Contribution.FACTORS:
        return SharedState({name: value for name, value in shared.items() if name in (ITEM_FACTORS, UNOBSERVED)})
    return read_in_training(shared)


def release_name(contribution: Contribution, model: ModelConfig) -> str:
    """Return how ledgers call the release of a round of this kind."""
    if contribution is Contribution.POPULARITY:
        return statistics_name(model)
    return "training" if contribution is Contribution.UPDATE else contribution.value


@dataclass(frozen=True, kw_only=True)
class TrainReply:
    """What a node answers: the sum of its participants' clipped contributions, and nothing of a single user."""

    nonce: str
    total: EncodedUpdate
    """Under the codec of a reply that speaks for so many users (``fedrec.codecs.reply_codec``)."""
    num_users: int
    """``len(participants)`` of the task: the server chose it, so it is public."""
    seal: Seal | None = None
    """The device's signature on what this answers; None of a node without a key, in a simulation."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A typed no. ``detail`` names the policy and the asked value."""

    nonce: str
    reason: RefusalReason
    detail: str


@dataclass(frozen=True, kw_only=True)
class NodeCard:
    """What a node says of itself when it enrols: public by agreement, frozen into the run's roster."""

    key: str
    """Stable name of the node; orders replies, so that sums do not depend on arrival."""
    num_users: int
    catalogue_digest: str
