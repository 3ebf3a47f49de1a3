"""``fedrec device init | run | doctor``: make a device, run its roles, say what is wrong with it."""

import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from clients.device.home import DeviceHome
from clients.device.locks import Role
from clients.device.settings import DeviceSettings, EligibilitySettings, ServerSettings
from fedrec.cli.findings import tell
from fedrec.cli.output import write_line, write_note
from fedrec.errors import ConfigError

CODE = "FEDREC_ENROLMENT_CODE"
"""Variable of the environment that may hold the enrolment code; arguments are seen by every user of the machine."""

Folder = Annotated[Path, typer.Argument(help="The device's folder.", metavar="DIR")]


def init(
    folder: Folder,
    server: Annotated[str, typer.Option(help="HOST:PORT of the server's front door.")],
    authority: Annotated[Path, typer.Option(help="The server's certificate authority (ca.crt), handed over by hand.")],
    key: Annotated[str, typer.Option(help="The device's name at the server; by default one made from its key.")] = "",
    code_file: Annotated[
        Path | None,
        typer.Option(help="File with the enrolment code, - for stdin; else FEDREC_ENROLMENT_CODE, else it is asked."),
    ] = None,
    signer: Annotated[
        Path | None,
        typer.Option(help="The server's signing key (signer.pub), handed over by hand; by default the door's word."),
    ] = None,
    user: Annotated[list[str] | None, typer.Option(help="Key of a person whose events it holds; never sent.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="A policy.toml to start with; by default one with every limit set.")
    ] = None,
    consent: Annotated[
        bool, typer.Option("--consent", help="I am the owner, and agree to training within the policy.")
    ] = False,
    whenever: Annotated[
        bool, typer.Option("--whenever", help="Train whenever asked: look at no power, load, network or disk.")
    ] = False,
) -> None:
    """Make a device: its key, folders and settings; enrol it at the server, and fetch the first catalogue."""
    # Imported here: the other sub-commands of a device must start without what making one needs.
    from clients.local_store import LocalStore
    from clients.supervisor.orders import read_signer
    from clients.supervisor.setup import first_versions, make_device, own_name

    home, text = DeviceHome(folder.absolute()), _policy(policy, consent=consent)
    trusted, secret = read_signer(signer) if signer else "", _code(code_file)
    try:
        settings = DeviceSettings(
            server=ServerSettings(address=server),
            key=key or own_name(home),
            users=tuple(user or ("me",)),
            eligibility=EligibilitySettings.whenever_asked() if whenever else EligibilitySettings(),
        )
    except ValueError as error:
        raise ConfigError(f"{error}") from error
    enrolled = make_device(home, settings, authority=authority, code=secret, signer=trusted, policy=text)
    if _can_train():
        from clients.supervisor.code import lock_code  # brings Flower

        lock_code(home)
    with LocalStore.open(home.store) as store:
        if consent:
            store.set_consent(granted=True)
    write_line(f"{enrolled.key} is enrolled for {enrolled.owner} in {home.path}")
    problem = first_versions(home, settings)
    if problem:
        write_note(f"no catalogue yet: {problem}; the device goes on trying once it runs")
    if not _can_train():
        write_note("this installation has no PyTorch (profile recommend): the device recommends, and never trains")
    elif not consent:
        write_note(f"it does not train before 'fedrec device consent' and 'consent = true' in {home.policy}")
    write_note(f"start it with 'fedrec device run {folder}'")


def _policy(path: Path | None, *, consent: bool) -> str:
    """Return the text of the first ``policy.toml``."""
    if not _can_train():
        if consent or path is not None:
            raise ConfigError(
                "this installation has no PyTorch (profile recommend) and never trains: omit --consent and --policy"
            )
        return "consent = false\n"
    from dataclasses import replace

    from clients.policy import Policy  # here: it brings torch

    policy = Policy.load(path) if path else Policy.for_device()
    return replace(policy, consent=consent or policy.consent).to_toml()


def _can_train() -> bool:
    """Return whether PyTorch is installed: a bundle of the profile ``recommend`` leaves it out."""
    return importlib.util.find_spec("torch") is not None


def _code(path: Path | None) -> str:
    """Return the enrolment code from where it was put; it is never an argument."""
    if path is not None:
        try:
            text = sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read as an enrolment code: name the file that holds it") from error
    elif CODE in os.environ:
        text = os.environ[CODE]
    elif sys.stdin.isatty():
        text = typer.prompt("Enrolment code", hide_input=True)
    else:
        raise ConfigError(
            f"no enrolment code: name a file by --code-file, or set {CODE}; the server's owner hands it out"
        )
    if not text.strip():
        raise ConfigError("the enrolment code is empty: ask the server's owner for one")
    return str(text).strip()


def run(
    folder: Folder,
    only: Annotated[Role | None, typer.Option(help="Run one role alone, as the systemd units do.")] = None,
) -> None:
    """Run a device: the local service, the link to the server and the trainer, until it is ended."""
    if only is Role.API:  # become the lean program of this role: the command line's modules are memory to it
        served = str(_home(folder).path)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "fedrec.cli.serve_device", served])
    # Imported here: the other sub-commands need none of it.
    from clients.supervisor.roles import run_all, run_role, stop_on_signals

    home = _home(folder)
    logging.getLogger("clients").setLevel(logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setLevel(min(handler.level, logging.INFO))
    stop = stop_on_signals()
    if only is None:
        run_all(home, stop)
    else:
        run_role(home, only, stop)


def doctor(
    folder: Folder,
    lock_code: Annotated[
        bool, typer.Option("--lock-code", help="Accept the installed code as it is now, then look.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say in plain words what is wrong with a device and what to do; leave with 1 if something is."""
    # Imported here: the other sub-commands need none of it.
    from clients.supervisor.doctor import examine

    home = DeviceHome(folder.absolute())
    if lock_code:
        from clients.supervisor.code import lock_code as lock  # brings Flower, which takes seconds

        lock(_home(folder))
    tell(examine(home), as_json=as_json)


def _home(folder: Path) -> DeviceHome:
    """Return the folder of a made device; ``ConfigError`` if it is none."""
    home = DeviceHome(folder.absolute())
    DeviceSettings.load(home.settings)
    return home
