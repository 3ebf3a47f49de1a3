"""Versions that a device takes and versions that it refuses, whatever a server or a power cut does."""

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clients.artefacts.install import RESERVE, install
from clients.artefacts.versions import current, highest, holds, is_whole, roll_back, versions
from fedrec.errors import DataError, SignatureError
from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What, installed
from fedrec.signing.manifest import Manifest, ManifestFile

DIGEST = "ab" * 32
CONTENTS = {"a.bin": b"x" * 200_000, "b.json": b"{}"}


@pytest.fixture
def take(tmp_path: Path, publisher: Any) -> Any:
    """Return a function that publishes and installs a version of a model."""

    def install_version(version: int, contents: dict[str, bytes] | None = None, **asked: Any) -> Any:
        manifest = publisher.publish("model", version, DIGEST, contents or {"a.bin": f"v{version}".encode()})
        settings_ = {"signer": publisher.signer, "open_file": publisher.open_file, **asked}
        return install(manifest, subject="model", folder=tmp_path / "model", **settings_)

    return install_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


def test_a_version_is_put_in_place_for_its_owner_alone(take: Any, folder: Path) -> None:
    found = take(1, CONTENTS)
    assert (found.version, found.fresh, current(folder)) == (1, True, 1)
    for name, content in CONTENTS.items():
        assert (found.folder / name).read_bytes() == content
        assert stat.S_IMODE((found.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(found.folder.stat().st_mode) == 0o700
    assert is_whole(found.folder)


def test_the_same_version_again_fetches_nothing(take: Any) -> None:
    take(1, CONTENTS)
    assert not take(1, CONTENTS, open_file=lambda sha256, size: pytest.fail("it is here already")).fresh


def test_the_one_before_stays_and_older_ones_go(take: Any, folder: Path) -> None:
    for version in (1, 2, 5):
        take(version)
    assert versions(folder) == [2, 5]
    assert current(folder) == 5


def test_a_damaged_version_is_fetched_anew(take: Any, folder: Path) -> None:
    take(1, CONTENTS)
    for name in (*CONTENTS, "manifest.json"):
        (folder / "1" / name).write_bytes(b"damaged")
        assert not is_whole(folder / "1")
        assert take(1, CONTENTS).fresh
        assert is_whole(folder / "1")


@pytest.mark.parametrize("damage", ["flipped before it was looked at", "cut", "gone", "manifest"])
def test_a_version_that_is_damaged_is_not_held_to_be_here(take: Any, folder: Path, damage: str) -> None:
    take(1, CONTENTS)
    path = folder / "1" / ("manifest.json" if damage == "manifest" else "a.bin")
    if damage.startswith("flipped"):
        path.write_bytes(b"y" * 200_000)
    else:
        assert holds(folder, 1)
        path.write_bytes(b"cut")
    if damage == "gone":
        path.unlink()
    assert not holds(folder, 1)
    take(1, CONTENTS)
    assert holds(folder, 1)
    assert not holds(folder, 2)


# --- case E62 -----------------------------------------------------------------------------------------------------
@pytest.mark.abuse
def test_e62_an_older_version_is_refused_even_after_all_is_deleted_but_the_mark(take: Any, folder: Path) -> None:
    take(3)
    with pytest.raises(SignatureError, match="older than 3"):
        take(2)
    assert current(folder) == 3
    (folder / "current").unlink()
    for path in folder.glob("3/*"):
        path.unlink()
    (folder / "3").rmdir()
    with pytest.raises(SignatureError, match="older than 3"):
        take(2)
    assert take(3).fresh


@pytest.mark.abuse
def test_e62_another_content_under_the_same_version_is_refused(take: Any, folder: Path) -> None:
    take(1)
    with pytest.raises(SignatureError, match="two different versions 1"):
        take(1, {"a.bin": b"for you alone"})
    assert (folder / "1" / "a.bin").read_bytes() == b"v1"


@pytest.mark.abuse
def test_e62_a_manifest_that_is_not_the_trusted_servers_is_refused_before_anything_is_fetched(
    take: Any, publisher: Any, folder: Path
) -> None:
    with pytest.raises(SignatureError, match="not signed by the key"):
        take(1, signer="00" * 32, open_file=lambda sha256, size: pytest.fail("nothing may be fetched"))
    manifest = publisher.publish("catalogue", 1, DIGEST, CONTENTS)
    with pytest.raises(SignatureError, match="is of a catalogue, not of a model"):
        install(manifest, publisher.signer, "model", folder, publisher.open_file)
    assert not folder.exists()


@pytest.mark.abuse
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda content: content[:-1], "ended after 199999 of 200000"),
        (lambda content: content + b"y", "longer than the 200000"),
        (lambda content: b"y" + content[1:], "does not have the hash"),
        (lambda content: b"", "ended after 0"),
    ],
)
def test_e62_a_file_that_is_not_what_the_manifest_says_is_refused(
    take: Any, publisher: Any, folder: Path, change: Any, complaint: str
) -> None:
    def open_file(sha256: str, size: int) -> Iterator[bytes]:
        content = publisher.files[sha256]
        yield change(content) if size == 200_000 else content

    take(1)
    with pytest.raises(SignatureError, match=complaint):
        take(2, CONTENTS, open_file=open_file)
    assert current(folder) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["1", "current", "highest"]


@pytest.mark.abuse
def test_an_endless_file_is_cut_off_at_its_size(take: Any, publisher: Any) -> None:
    drawn = []

    def endless(sha256: str, size: int) -> Iterator[bytes]:
        while True:
            drawn.append(1)
            yield b"x" * 65_536

    with pytest.raises(SignatureError, match="longer than"):
        take(1, CONTENTS, open_file=endless)
    assert len(drawn) == 4


@pytest.mark.abuse
def test_a_version_of_absurd_size_is_not_fetched(publisher: Any, folder: Path) -> None:
    files = {"a.bin": ManifestFile(sha256="0" * 64, size=1 << 40)}
    manifest = Manifest(subject="model", version=1, catalogue_digest=DIGEST, files=files).signed(publisher.key)
    with pytest.raises(DataError, match="more than the"):
        install(manifest, publisher.signer, "model", folder, publisher.open_file, free=lambda path: 1 << 60)


@pytest.mark.abuse
def test_a_file_of_the_manifests_own_name_is_refused(take: Any) -> None:
    with pytest.raises(DataError, match="manifest's name"):
        take(1, {"manifest.json": b"{}"})


def test_a_check_may_refuse_the_content_in_a_sentence(take: Any, folder: Path) -> None:
    take(1)
    with pytest.raises(DataError, match="version 2 of the model is refused: it is upside down"):
        take(2, checks=[lambda path, manifest: "it is upside down" if (path / "a.bin").exists() else None])
    assert (current(folder), versions(folder)) == (1, [1])


def test_what_was_rolled_back_is_not_taken_again_but_the_next_version_is(take: Any, folder: Path) -> None:
    for version in (1, 2):
        take(version)
    assert roll_back(folder) == 1
    with pytest.raises(DataError, match="rolled back on this device"):
        take(2)
    assert (current(folder), highest(folder)) == (1, 2)
    assert take(3).fresh
    assert current(folder) == 3


def test_with_nothing_older_there_is_nothing_to_roll_back_to(take: Any, folder: Path) -> None:
    assert roll_back(folder) is None
    take(1)
    assert roll_back(folder) is None
    assert current(folder) == 1


# --- disks and power ----------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_c35_without_room_for_a_version_the_one_before_goes_on(take: Any, folder: Path) -> None:
    take(1)
    with pytest.raises(DataError, match=r"make room; the version before it goes on counting"):
        take(2, CONTENTS, free=lambda path: RESERVE + 200_001)
    assert take(2, CONTENTS, free=lambda path: RESERVE + 200_002).fresh


@pytest.mark.fault
def test_c35_a_disk_that_fills_while_fetching_leaves_the_version_before(
    take: Any, publisher: Any, folder: Path
) -> None:
    take(1)
    plan = FaultPlan(faults=(Fault(where="artefact.fetched", what=What.DISK_FULL),))
    with installed(plan), pytest.raises(OSError, match="No space left"):
        take(2)
    assert (current(folder), versions(folder), list(folder.glob(".incoming*"))) == (1, [1], [])


PLACES = ("artefact.fetched", "artefact.written", "artefact.renamed", "artefact.switched")


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(25))
def test_a10_power_cuts_at_any_places_leave_one_whole_version_and_the_next_try_goes_through(
    folder: Path, publisher: Any, seed: int
) -> None:
    plan = FaultPlan.drawn(seed, PLACES, [What.CRASH], most=3, within=3)
    before = 0
    with installed(plan):
        for version in (1, 2, 3, 3, 4):
            manifest = publisher.publish("model", version, DIGEST, {"a.bin": f"v{version}".encode()})
            with suppress(InjectedCrashError):
                install(manifest, publisher.signer, "model", folder, publisher.open_file)
            counts = current(folder)
            assert counts is None or (counts >= before and is_whole(folder / str(counts))), f"seed {seed}"
            before = counts or before
    manifest = publisher.publish("model", 5, DIGEST, {"a.bin": b"v5"})
    install(manifest, publisher.signer, "model", folder, publisher.open_file)
    assert current(folder) == 5, f"seed {seed}"
    assert not list(folder.glob(".incoming*")), f"seed {seed}"
