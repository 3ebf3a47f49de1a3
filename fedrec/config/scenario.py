"""The scenario: everything a run can be told, and what its parts must agree on."""

from typing import Self

from pydantic import model_validator

from fedrec.config.audit import AuditConfig
from fedrec.config.data import DataConfig
from fedrec.config.evaluation import EvaluationConfig, SelectionConfig
from fedrec.config.federation import FederationConfig
from fedrec.config.model import ModelConfig
from fedrec.config.privacy import PrivacyConfig
from fedrec.config.proven import interaction_objection
from fedrec.config.robustness import RobustnessConfig
from fedrec.config.run import RunConfig
from fedrec.config.section import Section
from fedrec.config.training import TrainingConfig

_USUAL = {"central": "add-or-remove-one", "device": "zero-out", "distributed": "zero-out"}
"""``privacy.adjacency`` where it is not said."""


class Scenario(Section):
    """Everything a run can be told."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    selection: SelectionConfig = SelectionConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    federation: FederationConfig = FederationConfig()
    robustness: RobustnessConfig = RobustnessConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    audit: AuditConfig = AuditConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        self._check_held_out()
        self._check_interaction()
        self._check_correlation()
        self._check_placement()
        self._check_robustness()
        self._check_participation()
        self._check_buffered()
        self._check_statistics()
        self._check_local_training()
        self._check_evaluation()
        return self

    def _check_held_out(self) -> None:
        """Raise if held-out events would be looked at without noise, or canaries planted in a run without a claim."""
        if self.selection.enabled and self.privacy.enabled:
            raise ValueError(
                "selection.enabled looks at held-out events without noise, which privacy.enabled forbids: "
                "choose training.rounds in a run with privacy.enabled=false, or on public data"
            )
        if self.audit.canaries and not self.privacy.enabled:
            raise ValueError(
                f"audit.canaries={self.audit.canaries} put a user-level claim to the test, and this run makes none: "
                "set privacy.enabled=true, or audit.canaries=0"
            )

    def _check_statistics(self) -> None:
        """Raise if something needs statistics that nobody collects before training, or nothing is there to train."""
        collected = self.training.popularity_start and (self.privacy.popularity_share > 0 or not self.privacy.enabled)
        if self.model.members and not collected:
            raise ValueError(
                f"model.members has {self.model.members[0]}, which comes from statistics before training: set "
                "training.popularity_start=true and privacy.popularity_share above 0"
            )
        if not self.model.branches and self.training.rounds:
            raise ValueError(
                f"model.branches is empty, so that training.rounds={self.training.rounds} have nothing to train: set "
                "training.rounds=0"
            )
        if self.training.head_only and not (collected and self.model.head_items):
            raise ValueError(
                "training.head_only trains the items that released counts find frequent: set model.head_items, "
                "training.popularity_start=true and privacy.popularity_share above 0"
            )
        if "neighbours" in self.model.branches and not collected:
            raise ValueError(
                "model.branches has neighbours, which come from statistics before training: set "
                "training.popularity_start=true and privacy.popularity_share above 0"
            )

    def _check_local_training(self) -> None:
        """Raise if local training asks for a branch or a head that the model lacks."""
        if self.training.local.private_start == "ridge" and "mf" not in self.model.branches:
            raise ValueError(
                "training.local.private_start=ridge solves for the user embedding of mf, which model.branches lacks"
            )
        if self.training.local.loss == "mse" and self.training.popularity_start and not self.model.rating_head:
            raise ValueError(
                "training.local.loss=mse predicts ratings, and training.popularity_start would start the item bias "
                "from counts: set training.popularity_start=false"
            )
        if self.training.local.task_weights == "uncertainty" and (
            not self.model.rating_head or self.training.local.loss == "mse"
        ):
            raise ValueError(
                "training.local.task_weights=uncertainty weighs two tasks: set model.rating_head=true and a "
                "training.local.loss other than mse"
            )

    def _check_evaluation(self) -> None:
        """Raise if figures would be measured that mean nothing, or curves miss their own."""
        if self.evaluation.sampled_negatives and self.data.split == "cold-items":
            raise ValueError(
                "data.split=cold-items ranks the hidden items among themselves, which evaluation.sampled_negatives "
                "would mix with others: set it to 0"
            )
        if self.evaluation.every and not set(self.evaluation.ks) >= {10}:
            raise ValueError(f"evaluation.ks must include 10, which learning curves show, got {self.evaluation.ks}")

    def _check_correlation(self) -> None:
        """Raise if rounds follow that correlated noise does not cover, or if nothing of it would cancel."""
        if not self.privacy.enabled or self.privacy.correlation == "none":
            return
        others = {"training.ials_rounds": self.played.ials_rounds, "training.fusion_rounds": self.played.fusion_rounds}
        for key, rounds in others.items():
            if rounds:
                raise ValueError(
                    f"privacy.correlation={self.privacy.correlation} is of rounds of updates alone, and "
                    f"{key}={rounds} follow: set them to 0, or leave out model.members"
                )
        if self.federation.codec.name in ("low-rank", "row-subset"):
            raise ValueError(
                f"federation.codec.name={self.federation.codec.name} keeps other directions in each round, along which "
                f"the noise of privacy.correlation={self.privacy.correlation} would not cancel: choose fp16 or int8"
            )

    def _check_interaction(self) -> None:
        """Raise if something would be sent that the interaction-level layer does not cover, or is not proven for."""
        if self.privacy.interaction is None:
            return
        if self.training.popularity_start:
            raise ValueError(
                "privacy.interaction does not cover the item counts that training.popularity_start collects: "
                "set training.popularity_start=false"
            )
        if self.training.evaluation_share:
            raise ValueError(
                "privacy.interaction does not cover the ranks that training.evaluation_share collects: set it to 0"
            )
        if self.privacy.clipping != "flat":
            raise ValueError(
                f"privacy.interaction clips a user's update as a whole, which privacy.clipping={self.privacy.clipping} "
                "is not: set it to flat"
            )
        objection = interaction_objection(self.model, self.training.local)
        if objection is not None:
            raise ValueError(f"privacy.interaction {objection}")

    def _check_placement(self) -> None:
        """Raise if something would come between the devices' noise and what is claimed of it."""
        placement = self.privacy.placement
        if not self.privacy.enabled or placement == "central":
            return
        if self.federation.codec.name != "none":
            raise ValueError(
                f"privacy.placement={placement} has noise on every number that is sent, which "
                f"federation.codec.name={self.federation.codec.name} would round or leave out: set it to none"
            )
        if self.privacy.noise_seed is not None:
            raise ValueError(
                f"privacy.noise_seed seeds the server's noise, and with privacy.placement={placement} devices draw "
                "their own, from their operating systems: leave it out"
            )

    def _check_robustness(self) -> None:
        """Raise if the server is to choose among replies where what it releases must be their bounded sum."""
        placement, robustness = self.privacy.placement, self.robustness
        if not self.privacy.enabled or placement == "device":
            return
        if robustness.rule != "mean":
            raise ValueError(
                f"robustness.rule={robustness.rule} is no bounded sum, for which the noise of "
                f"privacy.placement={placement} is made: set it to mean, or privacy.placement=device"
            )
        if robustness.supporters > 1:
            raise ValueError(
                f"robustness.supporters={robustness.supporters} lets one user more or less bring a row to life, for "
                f"which the noise of privacy.placement={placement} is not made: set it to 0, or "
                "privacy.placement=device"
            )
        if placement == "distributed" and robustness.owner_share < 1:
            raise ValueError(
                f"robustness.owner_share={robustness.owner_share} weighs replies, and privacy.placement=distributed "
                "sums them unseen by a modulus: set it to 1, and bound an owner's devices by owner_quota in server.toml"
            )

    def _check_participation(self) -> None:
        """Raise if who was asked before is to decide who is asked, and the claim counts on independent draws."""
        federation, privacy, rate = self.federation, self.privacy, self.training.sample_rate
        bounds = {
            "maximum_participations": federation.maximum_participations,
            "minimum_separation": federation.minimum_separation if federation.minimum_separation > 1 else 0,
        }
        for name, bound in bounds.items():
            if bound and privacy.enabled and privacy.correlation != "none":
                raise ValueError(
                    f"federation.{name}={bound} would break the turns of privacy.correlation={privacy.correlation}: "
                    "set privacy.separation, which each device enforces, and leave it out"
                )
            if bound and privacy.enabled and privacy.amplified:
                raise ValueError(
                    f"federation.{name}={bound} lets earlier rounds decide who is asked, and amplification by sampling "
                    "counts on independent draws: leave it out, or set privacy.amplification=false, which makes no "
                    "use of sampling, or privacy.placement=device"
                )
            if bound and privacy.enabled and (privacy.adjacency or _USUAL[privacy.placement]) == "add-or-remove-one":
                raise ValueError(
                    f"federation.{name}={bound} draws among the users of the frozen roster, of whom one more or less "
                    "moves the others' turns: set privacy.adjacency=zero-out, which leaves each its place"
                )
        separation = bounds["minimum_separation"]
        if separation * rate > 1 and federation.mode == "synchronous":
            raise ValueError(
                f"federation.minimum_separation={separation} leaves a round at most 1/{separation} of the users, and "
                f"training.sample_rate={rate:g} asks for more: lower one of them"
            )

    def _check_buffered(self) -> None:
        """Raise if rounds overlap, and what is claimed or encoded is of cohorts that do not."""
        federation, privacy = self.federation, self.privacy
        if federation.mode == "synchronous":
            return
        if privacy.enabled and privacy.placement != "device":
            why = {
                "central": "amplification by sampling, on which privacy.placement=central counts, does not hold then",
                "distributed": "the shares of privacy.placement=distributed are of one cohort, a buffer's of several",
            }
            raise ValueError(
                f"federation.mode=buffered takes whoever answers first, and {why[privacy.placement]}: set "
                "privacy.placement=device, where each reply pays for itself, privacy.enabled=false, or "
                "federation.mode=synchronous"
            )
        if privacy.enabled and (self.played.ials_rounds or self.played.fusion_rounds):
            raise ValueError(
                "federation.mode=buffered plans the releases of buffers, and the rounds of model.members that follow "
                "training ask cohorts: leave out model.members, or set federation.mode=synchronous"
            )
        if federation.codec.name in ("low-rank", "row-subset"):
            raise ValueError(
                f"federation.codec.name={federation.codec.name} keeps other directions in each round, and a buffer of "
                "federation.mode=buffered has replies of several: choose fp16 or int8"
            )
        if federation.nodes < federation.buffered.buffer:
            raise ValueError(
                f"federation.nodes={federation.nodes} nodes never fill federation.buffered.buffer="
                f"{federation.buffered.buffer}, as each has one task at a time: raise nodes, or lower buffer"
            )

    @property
    def mixes(self) -> bool:
        """Whether weights are learned in rounds of their own, after training."""
        return len(self.model.members) + bool(self.model.branches) > 1 and self.training.fusion_rounds > 0

    @property
    def played(self) -> TrainingConfig:
        """The training as it is played: with the run's seed, without rounds of what the model has not."""
        training = self.training
        held_back, rounds = (training.calibration_share, training.fusion_rounds) if self.mixes else (0.0, 0)
        own = {"seed": self.run.seed, "held_back": held_back, "asked": training.evaluation_share}
        sweeps = training.ials_rounds if "ials" in self.model.members else 0
        return training.model_copy(
            update={
                "local": training.local.model_copy(update=own),
                "ials_rounds": sweeps,
                "fusion_rounds": rounds,
            }
        )

    @property
    def noise_seed(self) -> int | None:
        """The seed of the noise, None for the operating system's."""
        return self.run.seed if self.privacy.noise_seed == "run" else self.privacy.noise_seed
