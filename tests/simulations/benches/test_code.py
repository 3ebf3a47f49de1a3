"""A figure's code is that of the checkout which holds the module, and of no other."""

import subprocess

import pytest

from simulations.benches import code
from simulations.benches.code import UNKNOWN, Code


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one committed module, which stands for the code that measures."""
    module = tmp_path / "simulations" / "code.py"
    module.parent.mkdir()
    module.write_text("1\n", "utf-8")

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "simulations/code.py")
    git("commit", "-q", "-m", "x")
    monkeypatch.setattr(code, "__file__", str(module))
    return tmp_path, git


def test_the_commit_is_told_and_whether_code_was_changed_since(checkout):
    root, git = checkout
    commit = git("rev-parse", "--short=10", "HEAD")
    (root / "docs").mkdir()
    (root / "docs" / "page.md").write_text("a figure\n", "utf-8")
    assert Code.here() == Code(commit=commit, dirty=False)
    (root / "simulations" / "new.py").write_text("2\n", "utf-8")
    assert str(Code.here()) == f"{commit}, changed since"


def test_code_that_a_checkout_does_not_track_is_unknown(checkout):
    _, git = checkout
    git("rm", "-q", "--cached", "simulations/code.py")
    assert Code.here() == Code(commit=UNKNOWN, dirty=False)


def test_without_git_the_commit_is_unknown(monkeypatch):
    def fail(*command, **settings):
        raise FileNotFoundError("git")

    monkeypatch.setattr(code.subprocess, "run", fail)
    assert Code.here().commit == UNKNOWN
