"""What the owner of a device allows, in ``policy.toml``: read from the device alone, out of the server's reach.

A task is judged by what it says of itself; no private row is read for that. The first objection is the answer.
"""

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self, cast

from fedrec.errors import ConfigError
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.mechanism import Mechanism, Placement
from fedrec.privacy.placement import TRUST, effective_noise, own_noise
from fedrec.rounds import Contribution, RefusalReason, TrainTask
from fedrec.toml import read_toml, to_toml


@dataclass(frozen=True, kw_only=True)
class Objection:
    """A broken term of the policy, in words that name the term and the asked value."""

    reason: RefusalReason
    detail: str


_SIGNER = re.compile(r"(?:[0-9a-f]{64})?")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Terms on which a node takes part. The defaults refuse everything until somebody consents.

    A limit that is None is not set. Terms about days and bytes, and about the time between tasks, are kept by deployed
    devices (``clients.guard``): simulated nodes have no clock. ``for_device`` sets all of them.
    """

    consent: bool = False
    epsilon: float = 8.0
    """Most that all releases with this node's users may spend together, over all runs, at ``delta``."""
    delta: float = 1e-5
    interaction_epsilon: float = 8.0
    """Most that the interaction-level layer may spend on one interaction, over all runs, at ``delta``."""
    epsilon_per_round: float | None = None
    """Most that one round may spend on its own, at ``delta``; of a stream of correlated noise, the whole stream."""
    epsilon_per_day: float | None = None
    """Most that the rounds of any 24 hours may spend together, at ``delta``."""
    min_noise_multiplier: float = 0.3
    """Least noise on what is released, over what one user can change of it, whoever adds it."""
    required_placement: str = "central"
    """The most that the server is trusted with: ``central``, a user's clipped contribution; ``distributed``, sums over
    many users alone; ``device``, nothing that this device has not added all the noise to itself."""
    min_own_noise_multiplier: float = 0.0
    """Least noise that this device itself must be asked to add for each user, over the same."""
    max_clip_norm: float = 10.0
    max_rounds: int = 10_000
    """Rounds on this device's ledger, over all runs."""
    max_local_steps: int = 100
    max_local_epochs: int = 100
    """Passes over the whole history in one round."""
    max_model_dim: int = 1024
    min_expected_cohort: float = 1.0
    """Least number of users that a round must claim to expect: among as many a contribution is summed."""
    max_bytes_per_task: int | None = None
    """Bytes of a task's tensors and of its reply's together."""
    max_bytes_per_day: int | None = None
    max_tasks_per_day: int | None = None
    """Tasks that are begun in any 24 hours."""
    min_separation_seconds: float = 0.0
    """Least time from the beginning of one task to that of the next."""
    allowed_contributions: tuple[str, ...] = tuple(kind.value for kind in Contribution)
    """What may be asked for (``fedrec.rounds.Contribution``)."""
    allowed_tensors: tuple[str, ...] = ("*",)
    """Patterns (``*`` for any characters), one of which the name of each tensor of a task must match."""
    catalogue_signer: str = ""
    """Hex of the one Ed25519 key that the installed catalogue must be signed by; empty: whoever the device trusts."""
    trust_sampling: bool = True
    """Whether the server is trusted to sample cohorts as it says, and to keep them to itself. If not, a round is
    accounted without amplification whenever the node takes part."""
    allow_unprotected: bool = False
    """Whether tasks without user-level privacy are accepted: for simulations and consenting test users."""
    require_interaction: bool = False
    """Whether only tasks with the interaction-level layer are accepted: whatever leaves the device then has its noise,
    so that the server need not be trusted with what the owner did once."""

    def __post_init__(self) -> None:
        for field_ in fields(self):
            _check(field_.name, field_.type, getattr(self, field_.name))
        if self.required_placement not in TRUST:
            raise ValueError(f"required_placement must be one of {', '.join(TRUST)}, got {self.required_placement!r}")
        known = [kind.value for kind in Contribution]
        odd = [name for name in self.allowed_contributions if name not in known]
        if odd:
            raise ValueError(f"allowed_contributions must be of {', '.join(known)}, got {odd[0]!r}")
        if not _SIGNER.fullmatch(self.catalogue_signer):
            raise ValueError("catalogue_signer must be the 64 hex digits of a public key, or empty")
        _ = self.budget  # refuses an epsilon or delta that is none

    @classmethod
    def for_device(cls, **terms: Any) -> Self:
        """Return a policy for a device that nobody watches: every limit set, no consent yet; ``terms`` change it."""
        limits: dict[str, Any] = {
            "epsilon_per_round": 2.0,
            "epsilon_per_day": 4.0,
            "min_expected_cohort": 20.0,
            "max_local_epochs": 5,
            "max_model_dim": 256,
            "max_bytes_per_task": 64 * 2**20,
            "max_bytes_per_day": 512 * 2**20,
            "max_tasks_per_day": 48,
            "min_separation_seconds": 600.0,
        }
        return cls(**{**limits, **terms})

    @property
    def budget(self) -> Budget:
        """What this device may spend."""
        return Budget(epsilon=self.epsilon, delta=self.delta)

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Read a policy; raise ``ConfigError`` naming file and key."""
        table = read_toml(path, missing="a node without a policy takes part in nothing")
        unknown = sorted(set(table) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known are {known}")
        lists = {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
        try:
            return cls(**{**table, **lists})
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error

    def to_toml(self) -> str:
        """Return the text of a ``policy.toml`` that loads as this policy; a limit that is not set is left out."""
        return to_toml(asdict(self))

    def objection(self, task: TrainTask) -> Objection | None:
        """Return the first term that the task breaks, None if it breaks none. The ledger is asked elsewhere."""
        if not self.consent:
            return Objection(reason=RefusalReason.CONSENT, detail="the owner has not consented (consent = false)")
        return (
            self._to_kind(task) or self._to_protection(task) or self._to_cohort(task.mechanism) or self._to_work(task)
        )

    def to_bytes(self, num_bytes: int, today: int = 0) -> Objection | None:
        """Return the term that a task of so many bytes breaks, after ``today`` bytes in the last 24 hours."""
        if self.max_bytes_per_task is not None and num_bytes > self.max_bytes_per_task:
            limit = f"max_bytes_per_task = {self.max_bytes_per_task}"
            return _object(RefusalReason.BYTES, limit, f"{num_bytes} bytes down and up")
        if self.max_bytes_per_day is not None and today + num_bytes > self.max_bytes_per_day:
            limit = f"max_bytes_per_day = {self.max_bytes_per_day}"
            return _object(RefusalReason.BYTES, limit, f"{num_bytes} bytes after {today} in the last 24 hours")
        return None

    def _to_kind(self, task: TrainTask) -> Objection | None:
        """Return what may not be asked for at all."""
        if task.contribution.value not in self.allowed_contributions:
            limit = f"allowed_contributions = {json.dumps(self.allowed_contributions)}"
            return _object(RefusalReason.NOT_ALLOWED, limit, task.contribution.value)
        for name in sorted(task.shared):
            if not any(fnmatchcase(name, pattern) for pattern in self.allowed_tensors):
                limit = f"allowed_tensors = {json.dumps(self.allowed_tensors)}"
                return _object(RefusalReason.NOT_ALLOWED, limit, f"tensor {name!r}")
        return None

    def _to_protection(self, task: TrainTask) -> Objection | None:
        """Return what is missing of clipping and noise."""
        mechanism = task.mechanism
        if mechanism is None and not self.allow_unprotected:
            return _object(RefusalReason.NOISE, "allow_unprotected = false", "a task without user-level privacy")
        if mechanism is None and self.required_placement != "central":
            limit = f'required_placement = "{self.required_placement}"'
            return _object(RefusalReason.NOISE, limit, "a task without user-level privacy")
        if task.interaction is None and self.require_interaction:
            return _object(RefusalReason.NOISE, "require_interaction = true", "a task without the layer on the device")
        if mechanism is None:
            return None
        if mechanism.clip_norm > self.max_clip_norm:
            limit = f"max_clip_norm = {self.max_clip_norm:g}"
            return self._to_noise(mechanism) or _object(RefusalReason.CLIP, limit, f"clip norm {mechanism.clip_norm:g}")
        return self._to_noise(mechanism)

    def _to_cohort(self, mechanism: Mechanism | None) -> Objection | None:
        """Return that too few users are claimed; a task without user-level privacy claims none but its own."""
        claimed = mechanism.expected_cohort if mechanism else 1.0
        if claimed >= self.min_expected_cohort:
            return None
        limit = f"min_expected_cohort = {self.min_expected_cohort:g}"
        return _object(RefusalReason.COHORT, limit, f"a round of {claimed:g} users")

    def _to_work(self, task: TrainTask) -> Objection | None:
        """Return what would be too much work."""
        for limit, most, asked, unit in (
            ("max_local_steps", self.max_local_steps, task.local.steps, "steps"),
            ("max_local_epochs", self.max_local_epochs, task.local.epochs, "epochs"),
        ):
            if asked > most:
                return _object(RefusalReason.MODEL, f"{limit} = {most}", f"{asked} {unit}")
        if task.model.dim > self.max_model_dim:
            return _object(RefusalReason.MODEL, f"max_model_dim = {self.max_model_dim}", f"dim {task.model.dim}")
        return None

    def _to_noise(self, mechanism: Mechanism) -> Objection | None:
        """Return what is wrong with how much noise there is, or with who adds it."""
        if TRUST[mechanism.placement] > TRUST[cast("Placement", self.required_placement)]:
            limit = f'required_placement = "{self.required_placement}"'
            return _object(RefusalReason.NOISE, limit, f"{mechanism.placement} noise")
        for name, given in (
            ("min_noise_multiplier", effective_noise(mechanism)),
            ("min_own_noise_multiplier", own_noise(mechanism)),
        ):
            if given < getattr(self, name):
                own = " of its own" if "own" in name else ""
                asked = f"noise multiplier {given:g}{own}"
                return _object(RefusalReason.NOISE, f"{name} = {getattr(self, name):g}", asked)
        return None


def _check(name: str, kind: Any, value: Any) -> None:
    """Raise ``ValueError`` unless a value is of a field's type, and a number finite and not negative."""
    if kind in (float | None, int | None):
        if value is None:
            return
        kind = float if kind == float | None else int
    if kind is bool and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    if kind in (int, float) and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if kind is int and not (isinstance(value, int) and value >= 0):
        raise ValueError(f"{name} must be a whole number from 0 up, got {value!r}")
    if kind is float and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number from 0 up, got {value!r}")
    if kind is str and not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {value!r}")
    if kind == tuple[str, ...] and not (isinstance(value, tuple) and all(isinstance(part, str) for part in value)):
        raise ValueError(f"{name} must be a list of texts, got {value!r}")


def _object(reason: RefusalReason, term: str, asked: str) -> Objection:
    return Objection(reason=reason, detail=f"the policy says {term}, asked was {asked}")
