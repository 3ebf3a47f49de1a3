"""Whose eyes an attack looks through: what is seen of users' contributions, and what protects it.

The control sees one user's upload that nothing protects. The run's own views are what its server, its nodes and the
consumers of its model see. Further views show what other defences would do: noise of the run's own budget on each
device, a secure sum of shares of noise, and codecs, which are no defence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fedrec.config import CodecConfig, CodecName, PrivacyConfig, Scenario
from fedrec.errors import BudgetExceededError, ConfigError
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.placement import Dimensions
from fedrec.privacy.planning.run import RunPlan, plan_run
from fedrec.rounds import Contribution

UPLOADS = {Contribution.POPULARITY: "statistics before training", Contribution.UPDATE: "updates of training"}
"""What an upload is, in words."""

PLAIN = CodecConfig()
MOST_MASKED = 500_000
"""Numbers of a contribution, at most, of which a secure sum that the run does not have is simulated."""
MOST_SUMMED = 24
"""Users of a simulated secure sum, at most: each one's numbers are encoded and masked."""

CODECS: tuple[CodecName, ...] = ("int8", "low-rank", "row-subset")


@dataclass(frozen=True, kw_only=True)
class View:
    """What an attacker sees of ``users`` contributions that are summed, under ``mechanism`` and ``codec``.

    ``published``: the released mean, with the server's noise where it adds some. ``own``: whether somebody has this
    view in the run that is audited. ``control``: whether nothing protects it. ``later``: whether it is looked at in
    more than one round. ``sees`` and ``defence``: the same in words.
    """

    key: str
    sees: str
    defence: str
    mechanism: Mechanism | None = None
    codec: CodecConfig = PLAIN
    users: int = 1
    published: bool = False
    own: bool = False
    control: bool = False
    later: bool = True

    @property
    def of_one(self) -> bool:
        """Whether each upload is of one user alone."""
        return self.users == 1 and not self.published and not self.summed_securely

    @property
    def summed_securely(self) -> bool:
        """Whether it is a sum whose parts nobody sees."""
        return self.mechanism is not None and self.mechanism.placement == "distributed" and self.key != "message"


CONTROL = View(key="control", sees="one user's upload", defence="none", control=True)


def views_of(
    scenario: Scenario, contribution: Contribution, population: int, dimensions: Dimensions, most: int, *, quick: bool
) -> tuple[tuple[View, ...], tuple[str, ...]]:
    """Return the control and all other views of a run's uploads of a kind, and what is not looked at, a sentence each.

    ``most``: users that a sum may be of here; sums of more are harder to attack. ``quick`` leaves out codecs and what
    is no view of the run but the device's noise.
    """
    bare = not scenario.privacy.enabled and scenario.federation.codec.name == "none"
    views, untested = [replace(CONTROL, own=bare)], list[str]()
    views += _own_views(scenario, contribution, population, dimensions, most, untested)
    have = {view.key for view in views}
    if "device" not in have:
        views += _as_if(scenario, contribution, population, dimensions, "device", most, untested)
    numbers = dimensions.popularity if contribution is Contribution.POPULARITY else dimensions.training
    if not quick and "sum" not in have and numbers > MOST_MASKED:
        untested.append(
            f"A secure sum in place of the run's own defence was not simulated for {UPLOADS[contribution]}: masking "
            f"{numbers:,} numbers a user takes too long here."
        )
    elif not quick and "sum" not in have:
        views += _as_if(scenario, contribution, population, dimensions, "distributed", most, untested)
    if not quick and contribution is Contribution.UPDATE:
        views += [_coded(name) for name in CODECS]
    return tuple(views), tuple(untested)


def _coded(name: CodecName) -> View:
    what = f"codec {name} alone, which is no defence"
    return View(key=name, sees="one user's upload", defence=what, codec=CodecConfig(name=name), later=False)


# --- the run's own ------------------------------------------------------------------------------------------------
def _own_views(
    scenario: Scenario,
    contribution: Contribution,
    population: int,
    dimensions: Dimensions,
    most: int,
    untested: list[str],
) -> Iterator[View]:
    codec = scenario.federation.codec if contribution is Contribution.UPDATE else CodecConfig()
    cohort = population * (scenario.played.sample_rate if contribution is Contribution.UPDATE else 1.0)
    in_node = max(1, round(cohort / scenario.federation.nodes))
    if not scenario.privacy.enabled:
        if codec.name != "none":
            defence = f"codec {codec.name} alone"
            yield View(key="server", sees=CONTROL.sees, defence=defence, codec=codec, own=True)
        yield from _node(None, codec, in_node, most, "a sum over users alone")
        return
    mechanism = _mechanism(scenario.privacy, scenario, contribution, population, dimensions)
    coded = "" if codec.name == "none" else f", codec {codec.name}"
    clip = f"clip norm {mechanism.clip_norm:g}{coded}"
    if mechanism.placement == "central":
        defence = f"{clip}; noise comes later, at the server, which this protects from nothing"
        many = "" if in_node == 1 else f", as of a device of its own (a node has about {in_node} here)"
        sees = CONTROL.sees + many
        yield View(key="server", sees=sees, defence=defence, mechanism=mechanism, codec=codec, own=True)
        yield from _node(mechanism, codec, in_node, most, f"{clip}, and a sum before any noise")
        if mechanism.correlation is None:
            yield _published(mechanism, cohort, most)
        else:
            untested.append("The published means were not attacked: their noise is correlated over rounds.")
    elif mechanism.placement == "device":
        yield _of_device(mechanism, f"the run's own noise of {mechanism.noise_multiplier:.3g} clip norms a user", True)
        yield from _node(mechanism, codec, in_node, most, f"{clip}, and noise of each of their devices")
    else:
        yield _secure_sum(mechanism, cohort, most, own=True)
        yield View(
            key="message",
            sees="one device's message, as long as no secure sum hides it",
            defence=f"{clip}, and one share of {mechanism.minimum_users} of the noise",
            mechanism=mechanism,
            own=True,
        )


def _node(mechanism: Mechanism | None, codec: CodecConfig, users: int, most: int, defence: str) -> Iterator[View]:
    if users == 1 or most < 2:
        return
    less = "" if users <= most else f" (the run's nodes have about {users}, which is harder)"
    sees = f"the sum of {min(users, most)} users of one node{less}"
    yield View(
        key="node", sees=sees, defence=defence, mechanism=mechanism, codec=codec, users=min(users, most), own=True
    )


def _published(mechanism: Mechanism, cohort: float, most: int) -> View:
    users = max(1, min(round(cohort), most))
    less = "" if users >= round(cohort) else f", told apart from {users} users alone (the run has {round(cohort)})"
    return View(
        key="public",
        sees=f"the published mean{less}",
        defence=f"clip norm {mechanism.clip_norm:g}, and noise of {mechanism.noise_multiplier:.3g} clip norms on it",
        mechanism=mechanism,
        users=users,
        published=True,
        own=True,
    )


# --- what other defences would do ---------------------------------------------------------------------------------
def _as_if(
    scenario: Scenario,
    contribution: Contribution,
    population: int,
    dimensions: Dimensions,
    placement: str,
    most: int,
    untested: list[str],
) -> Iterator[View]:
    """Yield the view of noise elsewhere, of the budget that the run has or that is the default."""
    told: dict[str, Any] = {"placement": placement, "noise": "skellam" if placement == "distributed" else "gaussian"}
    told |= {"noise_seed": None, "correlation": "none", "amplification": None, "adversary": None, "minimum_users": 0}
    privacy = scenario.privacy
    flat = "flat" if privacy.clipping == "adaptive" else privacy.clipping
    elsewhere = privacy.model_copy(update={**told, "clipping": flat, "enabled": True})
    try:
        mechanism = _mechanism(elsewhere, scenario, contribution, population, dimensions)
    except (ConfigError, BudgetExceededError) as error:
        untested.append(f"Noise with placement {placement} was not tried in place of the run's own: {error}.")
        return
    if placement == "distributed":
        cohort = population * (scenario.played.sample_rate if contribution is Contribution.UPDATE else 1.0)
        yield _secure_sum(mechanism, cohort, most, own=False)
        return
    noise = f"noise of {mechanism.noise_multiplier:.3g} clip norms a user"
    yield _of_device(mechanism, f"{noise}, as if devices added it for a budget of epsilon {privacy.epsilon:g}", False)


def _of_device(mechanism: Mechanism, noise: str, own: bool) -> View:
    defence = f"clip norm {mechanism.clip_norm:g} and {noise}"
    return View(key="device", sees=CONTROL.sees, defence=defence, mechanism=mechanism, own=own)


def _secure_sum(mechanism: Mechanism, cohort: float, most: int, *, own: bool) -> View:
    users = max(1, min(round(cohort), most, MOST_SUMMED))
    less = "" if users >= round(cohort) else f" (a cohort has about {round(cohort)}, which is harder)"
    whose = "of the run's own" if own else "as if for the run's"
    return View(
        key="sum",
        sees=f"a simulated secure sum of {users} users{less}",
        defence=f"clip norm {mechanism.clip_norm:g} and shares of {mechanism.noise} noise {whose} budget",
        mechanism=mechanism,
        users=users,
        own=own,
        later=own,
    )


def _mechanism(
    privacy: PrivacyConfig, scenario: Scenario, contribution: Contribution, population: int, dimensions: Dimensions
) -> Mechanism:
    plan: RunPlan = plan_run(privacy, scenario.played, population, dimensions)
    found = plan.mechanism(0) if contribution is Contribution.POPULARITY else plan.mechanism(1)
    if found is None:
        raise ConfigError("the run has no such release")
    return replace(found, count_noise=None)
