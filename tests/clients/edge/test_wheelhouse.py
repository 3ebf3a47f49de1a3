"""What a bundle is gathered from: wheels' own words, a bill of materials, and no CUDA on a device."""

import datetime
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clients.edge import wheelhouse
from clients.edge.sbom import bill_of_materials
from clients.edge.wheelhouse import TARGETS, TRAINING_ONLY, Sources, direct_dependencies, gather
from clients.edge.wheels import Wheel
from fedrec.errors import DataError

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture
def product(wheel) -> Path:
    needs = [f"Requires-Dist: {need}" for need in ("torch>=2.6", "num_py<3,>=1", "ruff; extra == 'dev'")]
    return wheel("fedrec", "1.0", {}, "License-Expression: Apache-2.0", *needs)


def test_i85_the_bill_of_materials_has_every_wheel_with_hash_licence_and_what_it_needs(wheel, product):
    classified = wheel("num.py", "2.0+cpu", {}, "Classifier: License :: OSI Approved :: BSD License")
    wheels = [Wheel.read(path) for path in (product, classified)]
    bill = bill_of_materials(wheels, NOW)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    (part,) = bill["components"]
    assert part["purl"] == "pkg:pypi/num-py@2.0%2Bcpu"
    assert part["hashes"] == [{"alg": "SHA-256", "content": wheels[1].sha256}]
    assert part["licenses"] == [{"license": {"name": "BSD License"}}]
    assert bill["dependencies"][0] == {"ref": "pkg:pypi/fedrec@1.0", "dependsOn": ["pkg:pypi/num-py@2.0%2Bcpu"]}
    assert bill == bill_of_materials(list(reversed(wheels)), NOW), "the same wheels, the same bill"


def test_a_device_that_only_recommends_gets_nothing_of_training(product):
    read = Wheel.read(product)
    assert direct_dependencies(read, "full") == ["num_py<3,>=1", "torch>=2.6"]
    assert direct_dependencies(read, "recommend") == ["num_py<3,>=1"]


def test_what_only_training_needs_is_a_dependency_of_fedrec():
    """A package that fedrec no longer needs would stay on the list unnoticed."""
    project = (Path(wheelhouse.__file__).parents[2] / "pyproject.toml").read_text()
    assert all(f'"{name}' in project for name in TRAINING_ONLY)


def test_arm_devices_get_a_torch_of_which_the_index_has_a_build_without_cuda():
    assert TARGETS["aarch64"].torch == "2.10.0"


def test_a_torch_that_brings_cuda_is_refused_and_the_remedy_is_named(monkeypatch, tmp_path, wheel, product):
    monkeypatch.setattr(wheelhouse, "_resolve", lambda *arguments: "")
    brought = wheel("nvidia_cublas", "13.0", {})
    monkeypatch.setattr(wheelhouse, "_download", lambda lock, wheels, *rest: shutil.copy2(brought, wheels))
    with pytest.raises(DataError, match=r"brings CUDA \(nvidia-cublas\).*CPU build"):
        gather(
            tmp_path / "bundle", wheel=product, profile="full", target=TARGETS["aarch64"], sources=Sources(), say=print
        )


def test_a_bundle_is_not_gathered_into_a_folder_that_holds_something(tmp_path, product):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_text("")
    with pytest.raises(DataError, match="is not empty"):
        gather(tmp_path / "bundle", wheel=product, profile="full", target=TARGETS["aarch64"], sources=Sources())


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_i85_a_bundle_of_the_checkout_locks_every_wheel_by_hash(machine, tmp_path):
    """The torch-free profile from the index, for this kind of machine and for ARM: 27 to 40 MiB each."""
    folder = tmp_path / "bundle"
    command = ["fedrec", "bundle", "--machine", machine, "--profile", "recommend", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    wheels = [Wheel.read(path) for path in (folder / "wheels").glob("*.whl")]
    lock = (folder / "requirements.txt").read_text()
    assert all(
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" in lock for wheel in wheels if wheel.name != "pip"
    )
    assert not {wheel.name for wheel in wheels} & TRAINING_ONLY
    assert len(json.loads((folder / "sbom.cdx.json").read_text())["components"]) == len(wheels) - 1
    foreign = {"x86_64": "aarch64", "aarch64": "x86_64"}[machine]
    assert not [wheel.path.name for wheel in wheels if foreign in wheel.path.name]
