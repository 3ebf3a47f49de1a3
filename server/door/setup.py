"""Making a server's folder: keys, certificates, an empty enrolment list, orders that ask nothing."""

import datetime
from pathlib import Path

from fedrec.errors import ConfigError
from server.door.authority import create_authority, issue_certificate
from server.door.enrolments import Enrolments
from server.door.home import ServerHome, ServerSettings
from server.door.publications import Publications, create_signing_key, load_signing_key

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def init(path: Path, settings: ServerSettings, now: datetime.datetime) -> ServerHome:
    """Make the folder, for its owner alone; ``ConfigError`` if it exists and is not empty."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} exists and is not empty: name another folder, or remove it")
    home = ServerHome(path.resolve())
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    for folder in ("ca", "tls", "public", "runs", "run", "logs", "flwr"):
        (path / folder).mkdir(mode=0o700)
    create_authority(home.authority_key, home.authority, settings.host, now)
    renew_certificates(home, settings, now)
    create_signing_key(home.signing_key, home.signer)
    Publications.create(home.public, load_signing_key(home.signing_key))
    Enrolments.create(home.enrolments)
    settings.save(home.settings)  # last: a folder without it is not a server
    return home


def renew_certificates(home: ServerHome, settings: ServerSettings, now: datetime.datetime) -> None:
    """Make new certificates under the same authority: the front door's for its host, the SuperLink's for loopback."""
    for name, hosts in (("server", (settings.host, *LOOPBACK)), ("superlink", LOOPBACK)):
        issue_certificate(
            home.authority_key,
            home.authority,
            home.certificate_key(name),
            home.certificate(name),
            tuple(dict.fromkeys(hosts)),
            now,
        )
