"""How a server stands, for ``fedrec server status``: orders, devices, certificates."""

import datetime
from dataclasses import asdict, dataclass
from typing import Any

from fedrec.signing.orders import Orders
from server.door.authority import days_left
from server.door.enrolments import Device, Enrolments
from server.door.flower import SuperLink, SuperLinkError
from server.door.home import ServerHome, ServerSettings

RENEW_DAYS = 60
"""A certificate that is valid for fewer days is spoken of."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One look at a server. ``online``: public keys of nodes that are connected; None while the server is down."""

    url: str
    orders: Orders
    devices: tuple[Device, ...]
    open_places: int
    online: frozenset[str] | None
    certificate_days: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "url": self.url,
            "running": self.online is not None,
            "orders": asdict(self.orders),
            "devices": [
                {"key": d.key, "owner": d.owner, "state": self.state(d), "enrolled": d.enrolled} for d in self.devices
            ],
            "open_places": self.open_places,
            "certificate_days": self.certificate_days,
        }

    def state(self, device: Device) -> str:
        """Return ``online``, ``offline``, ``enrolled`` (while the server is down), ``revoked`` or ``withdrawn``."""
        if device.left:
            return device.left
        if self.online is None:
            return "enrolled"
        return "online" if device.public_key in self.online else "offline"


def look(home: ServerHome, settings: ServerSettings, orders: Orders, now: datetime.datetime) -> Overview:
    """Return how a server stands, asking its SuperLink where that answers."""
    enrolments = Enrolments.open(home.enrolments)
    superlink = SuperLink.of(home, settings)
    online: frozenset[str] | None = None
    try:
        online = frozenset(node.public_key for node in superlink.nodes() if node.status == "online")
    except SuperLinkError:
        pass  # it is down, which is one of the things to be told
    finally:
        superlink.close()
    return Overview(
        url=settings.url,
        orders=orders,
        devices=tuple(enrolments.devices()),
        open_places=enrolments.open_places(now.timestamp()),
        online=online,
        certificate_days=days_left(home.certificate("server"), now),
    )
