"""What TAB brings: the table against the commands, bash's words, and real shells with a real key pressed."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedrec.cli.outline import FILE
from fedrec.cli.outlining import outline, values_of
from fedrec.config.reading import known_keys

SCRIPTS = Path(sys.executable).parent


def completed(line: str) -> list[str]:
    """Return the words that ``fedrec`` offers where the cursor stands at the end of ``line``, split as bash does."""
    words = line.replace("=", " = ").split(" ")
    words = [word for place, word in enumerate(words) if word or place == len(words) - 1]
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_FEDREC_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "fedrec.cli"], env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fedrec sim", ["simulate"]),
        ("fedrec server kill", ["kill-switch"]),
        ("fedrec simulate ml", ["ml-100k"]),
        ("fedrec simulate ml-100k --pre", ["--preset"]),
        ("fedrec simulate ml-100k --preset epsilon-", ["epsilon-1", "epsilon-2", "epsilon-4", "epsilon-8"]),
        ("fedrec simulate ml-100k --place r", ["ray"]),
        ("fedrec data get ml", ["ml-100k"]),
        ("fedrec simulate --set privacy.en", ["privacy.enabled=", "privacy.enabled=true", "privacy.enabled=false"]),
        ("fedrec simulate --set privacy.enabled=", ["true", "false"]),
        ("fedrec simulate --set privacy.noise=sk", ["skellam"]),
        (
            "fedrec simulate --set privacy.enabled=true --set privacy.delt",
            ["privacy.delta=", "privacy.delta=1e-05", "privacy.delta=auto"],
        ),
        ("fedrec simulate ./my", []),
    ],
)
def test_what_could_follow_is_offered(line, offered):
    assert completed(line) == offered


def test_every_setting_is_offered():
    assert completed("fedrec simulate --set ") == [f"{key}=" for key in known_keys()]


def test_the_table_is_of_the_commands_as_they_are():
    assert json.loads(FILE.read_text("utf-8")) == outline(), "write it anew: make completion"


def test_completing_imports_no_command_and_neither_torch_nor_pydantic():
    program = (
        "import os, sys, atexit; os.environ.update(_FEDREC_COMPLETE='complete_bash', COMP_CWORD='3',"
        "COMP_WORDS='fedrec simulate --set pri'); sys.argv = ['fedrec'];"
        "atexit.register(lambda: print([m for m in sys.modules"
        " if m in ('torch', 'flwr', 'numpy', 'pydantic', 'fedrec.cli.simulate')]));"
        "from fedrec.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "privacy.enabled=" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("annotation", "default", "words"),
    [
        (bool, True, ["true", "false"]),
        (int, 3, ["3"]),
        (tuple[str, ...], (), []),
        (str, "", []),
        (float | None, None, []),
    ],
)
def test_values_are_offered_where_they_are_few(annotation, default, words):
    assert values_of(annotation, default) == words


@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_that_took_completion_up_completes_at_a_real_key(shell, tmp_path):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    environment = {"HOME": str(tmp_path), "PATH": f"{SCRIPTS}:{os.environ['PATH']}", "TERM": "dumb"}
    environment |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    install = subprocess.run(
        [program, "-c", "fedrec --install-completion; true"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"{shell} completion installed" in install.stdout, install.stdout + install.stderr
    (tmp_path / ".local/share/fish/generated_completions").mkdir(parents=True)  # else fish reads all manual pages first
    keys = "fedrec simulate --set privacy.placeme\t" + "\t" * (shell == "zsh")  # its first loads the function
    assert "nt=" in _typed([program, "-i"], keys, "nt=", environment, tmp_path)


def _typed(command: list[str], keys: str, awaited: str, environment: dict[str, str], folder: Path) -> str:
    """Return what a terminal shows after ``keys``, at most 30 s later."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    try:
        time.sleep(1)  # a shell reads its settings, and throws away what was typed before
        os.write(terminal, keys.encode())
        shown, ends = "", time.monotonic() + 30
        while awaited not in shown and time.monotonic() < ends:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
        return shown
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)
