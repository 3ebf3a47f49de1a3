"""``fedrec audit function``: other people's aggregators, through the program's own rim."""

import json

import pytest

from fedrec.cli.main import run

CLAIM = ["--claim", "4.38,1e-5,100,1", "--seed", "3", "--quick"]

HONEST = """
import numpy as np

SHAPES = {"bias": (2,), "items": (3, 2)}

class Honest:
    shapes = SHAPES
    clip_norm = 1.0
    sensitivity = 1.0

    def __call__(self, updates, rng):
        total = self.without_noise(updates, rng)
        return {name: array + rng.normal(0, 1.0, array.shape) for name, array in total.items()}

    @staticmethod
    def without_noise(updates, rng):
        total = {name: np.zeros(shape) for name, shape in SHAPES.items()}
        for update in updates:
            norm = np.sqrt(sum((array**2).sum() for array in update.values()))
            if np.isfinite(norm):
                for name, array in update.items():
                    total[name] += array * min(1.0, 1.0 / max(norm, 1e-12))
        return total

honest = Honest()

def unclipped(updates, rng):
    finite = [u for u in updates if all(np.isfinite(array).all() for array in u.values())]
    return {
        name: sum((update[name] for update in finite), np.zeros(shape)) + rng.normal(0, 1.0, shape)
        for name, shape in SHAPES.items()
    }

unclipped.shapes = SHAPES

def chatty(updates, rng):
    print("hello")
    return honest(updates, rng)

chatty.shapes = SHAPES

def leaves(updates, rng):
    raise SystemExit(0)

def crashes(updates, rng):
    raise ZeroDivisionError("oh")

def one_argument(updates):
    return {}

number = 3
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """The folder of somebody's module; the audit is run from it."""
    monkeypatch.chdir(tmp_path)
    name = f"theirs_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(HONEST)
    return name


def audit(capsys, path, *options):
    """Return exit code, JSON or None, and stderr."""
    code = run(["audit", "function", path, *(options or CLAIM), "--json"])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, json.loads(captured.out) if captured.out else None, captured.err


def test_an_honest_aggregator_passes_and_what_it_prints_is_not_the_result(capsys, theirs, tmp_path):
    code, report, error = audit(capsys, f"{theirs}:chatty", *CLAIM, "--out", str(tmp_path / "out"))
    assert (code, report["verdict"], report["subject"]["kind"]) == (0, "no violation found", "function")
    assert "hello" in error
    assert report["claims"][0]["epsilon"] == 4.38
    assert report["repeat"] == f"fedrec audit function {theirs}:chatty --claim 4.38,1e-5,100,1 --seed 3 --quick"
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == report
    assert "one of 100 users was there" in (tmp_path / "out" / "audit.html").read_text()


def test_an_aggregator_that_does_not_clip_is_exit_code_one(capsys, theirs):
    code, report, error = audit(capsys, f"{theirs}:unclipped")
    assert (code, report["verdict"]) == (1, "violation found")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["leaves", "crashes", "one_argument", "number", "nowhere"])
def test_a_function_that_cannot_be_audited_is_exit_code_two_and_never_a_pass(capsys, theirs, name):
    code, report, error = audit(capsys, f"{theirs}:{name}")
    assert (code, report, error.count("\n")) == (2, None, 1)
    assert theirs in error or "could not be finished" in error or "function" in error


@pytest.mark.parametrize("claim", ["4", "4,1e-5,100,2", "4,0,100,1", "x,1e-5,100,1", "4,1e-5,1.5,1", "-1,1e-5,100,1"])
def test_a_claim_that_is_none_is_refused(capsys, theirs, claim):
    code, _, error = audit(capsys, f"{theirs}:honest", f"--claim={claim}")
    assert (code, error.count("\n")) == (2, 1)


@pytest.mark.parametrize("path", ["nomodule:x", "no_colon", ":x", "json:"])
def test_a_module_that_does_not_exist_is_refused(capsys, path):
    code, _, error = audit(capsys, path)
    assert (code, error.count("\n")) == (2, 1)
