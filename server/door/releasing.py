"""From a run folder to what devices fetch: the catalogue where it is a new one, and the served model."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder
from fedrec.serving.export import export_catalogue, export_run
from fedrec.signing.manifest import Manifest
from fedrec.signing.orders import PERMILLE
from server.door.publications import Publications
from server.door.served import oddity


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was published; None where nothing of that kind was new."""

    catalogue: Manifest | None
    model: Manifest | None


def release(publications: Publications, path: Path, *, permille: int = PERMILLE) -> Published:
    """Publish what the folder ``path`` holds: a run's catalogue and, after its first round, its model; or a catalogue.

    A catalogue that is published already is not published again, so that devices keep what they made for it. A model
    follows its catalogue, never the other way round. ``permille``: how many of a thousand devices are to have the model
    for now; fewer than all only of a catalogue that all have.
    """
    run = RunFolder(path)
    if not run.config_path.is_file():
        return Published(catalogue=_catalogue(publications, path, Catalogue.load(path).digest), model=None)
    digest = Catalogue.load(run.catalogue).digest
    with tempfile.TemporaryDirectory(prefix="fedrec-publish-") as name:
        folders = Path(name)
        export_catalogue(path, folders / "catalogue")
        trained = _trained(run)
        if trained:  # before anything is published: what cannot be served is refused by name
            export_run(path, folders / "model")
            _refuse_oddity(folders / "model")
        if permille < PERMILLE:
            _refuse_new_catalogue(publications, digest)
        catalogue = _catalogue(publications, folders / "catalogue", digest)
        files = _files(folders / "model") if trained else {}
        model = publications.publish("model", digest, files, permille=permille) if trained else None
    return Published(catalogue=catalogue, model=model)


def _refuse_oddity(folder: Path) -> None:
    found = oddity(folder)
    if found:
        raise ConfigError(f"the model is not published: {found}; roll the run back, or train it again")


def _refuse_new_catalogue(publications: Publications, digest: str) -> None:
    before = publications.current("catalogue")
    if before is None or before.catalogue_digest != digest:
        raise ConfigError("the model is of a catalogue that devices do not have: publish the catalogue first")


def _trained(run: RunFolder) -> bool:
    """Return whether there is a model to serve: of a round, or of the release before it where a run has no other."""
    rounds = [int(path.stem.removeprefix("round-")) for path in run.checkpoints.glob("round-*.safetensors")]
    return max(rounds, default=-1) >= min(1, run.scenario().played.all_rounds)


def _catalogue(publications: Publications, folder: Path, digest: str) -> Manifest | None:
    before = publications.current("catalogue")
    if before is not None and before.catalogue_digest == digest:
        return None
    return publications.publish("catalogue", digest, _files(folder))


def _files(folder: Path) -> dict[str, Path]:
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    if not files:
        raise ConfigError(f"{folder} holds no files to publish")
    return files
