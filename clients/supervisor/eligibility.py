"""Whether a device may train now: what its probes say, against its owner's settings.

Everything is judged here, on the device; nothing of it is sent. A probe that cannot tell answers None, and does not
count against the device: a box without a battery has no charge.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from clients.device.settings import EligibilitySettings


@dataclass(frozen=True, kw_only=True)
class Power:
    """Where the machine's power comes from. ``battery``: share of a full one, None for no battery."""

    on_mains: bool
    battery: float | None = None


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """One reason not to train. ``name`` is short and fixed, ``detail`` is for the owner.

    ``ends``: whether it ends training that has begun, or only keeps more from beginning.
    """

    name: str
    detail: str
    ends: bool = True


def _unknown() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What is asked of the machine and of the device's own records, each by a function without arguments."""

    now: Callable[[], datetime] = datetime.now
    """Local time of day, for the windows."""
    power: Callable[[], Power | None] = _unknown
    others_busy: Callable[[], float | None] = _unknown
    """Share of the processor time that others than this device's training have used since the last look."""
    metered: Callable[[], bool | None] = _unknown
    free_disk: Callable[[], int | None] = _unknown
    """Bytes on the disk of the device's folder."""
    free_memory: Callable[[], int | None] = _unknown
    """Bytes that can be had without swapping."""
    temperature: Callable[[], float | None] = _unknown
    """Degrees Celsius of the hottest zone."""
    clock_doubt: Callable[[], str] = field(default=lambda: "")
    """Why the clock is not to be trusted, "" if it is."""
    objection: Callable[[], str] = field(default=lambda: "")
    """Why the owner does not want training: no consent, or a standing order; "" for none."""
    budget_spent: Callable[[], str] = field(default=lambda: "")
    """Why no further task would be accepted for the privacy budget; "" if one might be."""
    new_events: Callable[[], int | None] = _unknown
    """Events since the last session that trained."""
    since_training: Callable[[], float | None] = _unknown
    """Seconds since the last session that trained, None for never."""


def obstacles(settings: EligibilitySettings, probes: Probes, *, training: bool = False) -> list[Obstacle]:
    """Return all that speaks against training, what matters most first; empty if the device may train.

    ``training``: whether it has begun; then only what ends it is looked at.
    """
    judged = [judge(settings, probes) for judge in _JUDGES]
    return [found for found in judged if found is not None and (found.ends or not training)]


def _owner(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    objection = probes.objection()
    return Obstacle(name="owner", detail=objection) if objection else None


def _budget(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    spent = probes.budget_spent()
    if not spent:
        return None
    detail = f"the privacy budget is spent: {spent}; the device goes on recommending"
    return Obstacle(name="budget", detail=detail, ends=False)


def _clock(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    doubt = probes.clock_doubt()
    return Obstacle(name="clock", detail=doubt) if doubt else None


def _power(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    power = probes.power() if settings.require_power else None
    if power is None or power.on_mains:
        return None
    if power.battery is None:
        return Obstacle(name="power", detail="the device is not on mains power")
    if power.battery >= settings.min_battery:
        return None
    charge, least = round(100 * power.battery), round(100 * settings.min_battery)
    return Obstacle(name="power", detail=f"off the mains, with the battery at {charge} % and {least} % asked for")


def _busy(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    busy = probes.others_busy()
    if busy is None or busy <= settings.max_busy:
        return None
    detail = f"others use {round(100 * busy)} % of the processor, more than max_busy = {settings.max_busy:g}"
    return Obstacle(name="busy", detail=detail)


def _metered(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    if not settings.require_unmetered or not probes.metered():
        return None
    return Obstacle(name="metered", detail="the network is metered")


def _disk(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    return _scarce("disk", probes.free_disk(), settings.min_free_disk_mib, "min_free_disk_mib")


def _memory(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    found = _scarce("memory", probes.free_memory(), settings.min_free_memory_mib, "min_free_memory_mib")
    # what training takes itself is free no more once it has begun
    return Obstacle(name=found.name, detail=found.detail, ends=False) if found else None


def _scarce(name: str, free: int | None, least: int, setting: str) -> Obstacle | None:
    if free is None or free >= least * 2**20:
        return None
    return Obstacle(name=name, detail=f"{free >> 20} MiB of {name} are free, less than {setting} = {least}")


def _temperature(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    degrees = probes.temperature()
    if degrees is None or degrees <= settings.max_temperature:
        return None
    detail = f"the device is at {degrees:.0f} °C, above max_temperature = {settings.max_temperature:g}"
    return Obstacle(name="temperature", detail=detail)


def _window(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    if not settings.windows:
        return None
    now = probes.now()
    minute = 60 * now.hour + now.minute
    if any(_inside(window, minute) for window in settings.windows):
        return None
    return Obstacle(name="window", detail=f"it is {now:%H:%M}, outside of {', '.join(settings.windows)}")


def _inside(window: str, minute: int) -> bool:
    start, end = (60 * int(time[:2]) + int(time[3:]) for time in window.split("-"))
    return start <= minute < end if start <= end else minute >= start or minute < end


def _events(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    new = probes.new_events()
    if new is None or new >= settings.min_new_events:
        return None
    detail = f"{new} new events since it last trained, min_new_events = {settings.min_new_events}"
    return Obstacle(name="events", detail=detail, ends=False)


def _separation(settings: EligibilitySettings, probes: Probes) -> Obstacle | None:
    since = probes.since_training()
    if since is None or since >= settings.min_separation_seconds:
        return None
    detail = f"it trained {since:.0f} s ago, min_separation_seconds = {settings.min_separation_seconds:g}"
    return Obstacle(name="separation", detail=detail, ends=False)


_JUDGES = (
    _owner, _budget, _clock, _power, _metered, _busy, _temperature, _disk, _memory, _window, _events, _separation
)  # fmt: skip
