"""Where the front door answers, as a device asks for it."""

from server.door.home import FLEET

FEDREC = f"{FLEET}/fedrec"
"""fedrec's own part: ``public/``, ``enroll`` and ``withdraw``."""
