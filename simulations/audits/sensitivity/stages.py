"""What a node sends, from its folder on the disk to what the server decodes, under the sensitivity fuzz.

Updates under every codec and with adaptive counts, and the stages after training: item solves, weights of the fusion,
ranks for evaluation. By ``clients.contributions`` and ``clients.encoding`` on a real folder, without ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
from torch import Tensor

from clients import contributions, encoding
from clients.policy import Policy
from clients.store import NodeStore
from fedrec.codecs import reply_codec
from fedrec.config import CodecConfig, LocalConfig, ModelConfig
from fedrec.flower.templates import allowed_reply
from fedrec.models.split import SharedState, structure_digest
from fedrec.privacy.mechanism import Mechanism
from fedrec.rounds import Contribution, TrainTask, carried
from fedrec.statistics.collection import statistics_sum
from fedrec.training.head_rows import ITEM_PARAMETERS
from fedrec.training.start import start_from_statistics
from simulations.audits.sensitivity.cases import draw_case
from simulations.audits.sensitivity.catalogues import catalogue_of, shared_of
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Bounds, Case, Sum
from simulations.audits.sensitivity.people import Person, crowd, histories_of

PUBLIC_PEOPLE = 12
"""Invented people whose statistics the members of a fusion are made of: the same in both cohorts."""

NEARLY_ALL = 0.999
"""Share of users who hold an event back; 1 is no share that a run may have."""

_numbers = count()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One round of a node that has these people as its users. A ``Pipeline``."""

    folder: Path = field(repr=False)
    contribution: Contribution
    model: ModelConfig
    local: LocalConfig = field(default_factory=LocalConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    clip_norm: float = 0.01
    row_clip_norm: float | None = None
    counts: bool = False
    huge: bool = False
    num_items: int = 8
    kinds: tuple[str, ...] = ("busy", "avid", "faithful", "alternating", "once", "nothing")
    endless: bool = False

    @property
    def words(self) -> str:
        """The stage, its model and its codec."""
        coded = f", coded by {self.codec.name}" if self.codec.name != "none" else ""
        counted = ", with a count of users within the clip norm" if self.counts else ""
        huge = ", one item's vector overflowing" if self.huge else ""
        mixed = "+".join([*self.model.branches, *self.model.members])
        how = f"{huge}{coded}{counted}"
        return f"a node's round of {self.contribution.value} for {mixed} over {self.num_items} items{how}"

    @property
    def bounds(self) -> Bounds:
        """The clip norms."""
        return Bounds(whole=self.clip_norm, row=self.row_clip_norm, tables=frozenset(ITEM_PARAMETERS))

    def sum_of(self, people: Sequence[Person]) -> Sum:
        """Return what the server decodes of the node's reply."""
        if not people:
            return {}
        task = self._task(len(people))
        total = encoding.encoded_total(task, contributions.contribute(task, self._store(people)))
        return reply_codec(task, len(people)).decode(total, allowed_reply(task, self.num_items))

    def _task(self, users: int) -> TrainTask:
        shared = _shared(self.model, self.num_items, self.huge)
        sent = carried(self.contribution, shared)
        share = {Contribution.FUSION: "held_back", Contribution.RANKS: "asked"}.get(self.contribution)
        return TrainTask(
            run_id="audit",
            round=1,
            nonce=f"{next(_numbers):032x}",
            contribution=self.contribution,
            shared=sent,
            model=self.model,
            model_digest=structure_digest(sent),
            catalogue_digest=catalogue_of(self.num_items).digest,
            participants=np.arange(users),
            local=self.local.model_copy(update={share: NEARLY_ALL}) if share else self.local,
            mechanism=Mechanism(
                clip_norm=self.clip_norm,
                noise_multiplier=1.0,
                sample_rate=1.0,
                population=100,
                row_clip_norm=self.row_clip_norm,
                count_noise=5.0 if self.counts else None,
            ),
            codec=self.codec,
        )

    def _store(self, people: Sequence[Person]) -> NodeStore:
        catalogue = self.folder / f"catalogue-{self.num_items}"
        if not catalogue.exists():
            catalogue_of(self.num_items).save(catalogue)
        return NodeStore.create(
            self.folder / f"node-{next(_numbers)}",
            key="node",
            users=[one.key for one in people],
            histories=histories_of(people, rated=self.local.loss == "mse" or self.model.rating_head),
            catalogue=f"../{catalogue.name}",
            policy=Policy(consent=True),
            durable=False,
        )


@lru_cache(maxsize=32)
def _shared(model: ModelConfig, num_items: int, huge: bool) -> SharedState:
    """Return shared parameters whose members are made of the statistics of invented people."""
    fresh = shared_of(model, num_items, "attributes", 0.3, huge, 0)
    if not model.members:
        return fresh
    sums = statistics_sum(model, histories_of(crowd(PUBLIC_PEOPLE, num_items)), num_items, None)
    mean: dict[str, Tensor] = {name: value / PUBLIC_PEOPLE for name, value in sums.items()}
    return start_from_statistics(model, fresh, mean, PUBLIC_PEOPLE, None)


def coded_updates(folder: Path, *, quick: bool = False) -> tuple[Stage, ...]:
    """Return rounds of training under every codec and with adaptive counts."""
    local = LocalConfig(learning_rate=20.0)
    cf = ModelConfig(dim=4, history_length=5, dropout=0.0, branches=("cf", "mf"))
    mf = ModelConfig(dim=4, history_length=5, dropout=0.0, branches=("mf",))
    update = Stage(folder=folder, contribution=Contribution.UPDATE, model=mf, local=local)
    some = (
        replace(update, codec=CodecConfig(name="int8")),
        replace(update, codec=CodecConfig(name="fp16"), counts=True),
        replace(update, counts=True, model=cf, clip_norm=100.0),
    )
    if quick:
        return some
    return (
        *some,
        replace(update, codec=CodecConfig(name="low-rank", rank=2), model=cf),
        replace(update, codec=CodecConfig(name="int8"), clip_norm=1e-5),
        replace(update, codec=CodecConfig(name="row-subset", row_share=0.5), num_items=300, counts=True),
        replace(update, row_clip_norm=0.004),
    )


def item_solves(folder: Path, *, quick: bool = False) -> tuple[Stage, ...]:
    """Return rounds of the sums that items of implicit ALS are solved from."""
    model = ModelConfig.model_validate({"branches": (), "members": ("ials",), "ials_dim": 3, "item_cap": 0})
    solve = Stage(folder=folder, contribution=Contribution.FACTORS, model=model, clip_norm=0.001)
    capped = model.model_copy(update={"item_cap": 3})
    some = (solve, replace(solve, model=capped, clip_norm=1e-5))
    return some if quick else (*some, replace(solve, clip_norm=10.0))


def fusion_weights(folder: Path, model: ModelConfig | None = None, *, quick: bool = False) -> tuple[Stage, ...]:
    """Return rounds in which the weights of a fusion are learned."""
    settings = {"branches": ("mf",), "members": ("popularity", "markov", "ials"), "ials_dim": 3, "dim": 4}
    mixed = model or ModelConfig.model_validate({**settings, "gate": True, "length_buckets": (4,)})
    kinds = ("curious", "everything", "faithful", "busy", "once")
    weigh = Stage(folder=folder, contribution=Contribution.FUSION, model=mixed, clip_norm=1e-4, kinds=kinds)
    ridge = LocalConfig(private_start="ridge")
    return (weigh,) if model or quick else (weigh, replace(weigh, local=ridge), _overflowing(weigh))


def evaluations(folder: Path, *, quick: bool = False) -> tuple[Stage, ...]:
    """Return rounds in which ranks are counted for the evaluation."""
    model = ModelConfig(dim=4, history_length=5, dropout=0.0, branches=("cf", "mf"))
    members = ModelConfig.model_validate({"branches": (), "members": ("popularity", "ials"), "ials_dim": 3})
    kinds = ("curious", "everything", "faithful", "busy", "once")
    rank = Stage(folder=folder, contribution=Contribution.RANKS, model=model, clip_norm=1.0, kinds=kinds)
    some = (rank, _overflowing(rank))
    return some if quick else (*some, replace(rank, model=members, clip_norm=0.5))


def _overflowing(stage: Stage) -> Stage:
    """Return the stage for a model by which whoever has met the last item gets scores that are no numbers."""
    model = stage.model.model_copy(update={"branches": ("cf", "mf")})
    return replace(stage, model=model, huge=True, kinds=("early", "everything", "curious"))


def draw_stage_case(draw: Draw, stages: Sequence[Stage]) -> Case:
    """Draw one of the stages, a node's users, and who of them goes or is replaced."""
    stage = draw.one_of(stages)
    return draw_case(draw, replace(stage, clip_norm=stage.clip_norm * draw.one_of((1.0, 0.5))))
