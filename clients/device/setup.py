"""A device's folder, before it is anybody's: its parts, with the modes that they keep."""

from clients.device.home import DeviceHome
from fedrec.errors import DataError


def make_folders(home: DeviceHome) -> None:
    """Make the device's folder and those in it, for their owner alone but ``run``, which a group may enter.

    Raises ``DataError`` if the place is taken by something else than a device.
    """
    path = home.path
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is no folder: name another place for the device")
    if path.is_dir() and any(path.iterdir()) and not home.key.exists():
        raise DataError(f"{path} is not empty and holds no device: name an empty or a new folder")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    for folder, mode in (
        (home.state, 0o700),
        (home.catalogues, 0o700),
        (home.models, 0o700),
        (home.flower, 0o700),
        (home.run, 0o750),
    ):
        folder.mkdir(mode=mode, exist_ok=True)
        folder.chmod(mode)
