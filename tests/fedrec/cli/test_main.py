"""The root command: what an invocation prints where, and with which code it leaves."""

import os
import subprocess
import sys

import pytest

from fedrec import __version__
from fedrec.cli import main as main_module
from fedrec.cli.main import COMMANDS, LazyCommand, run

FAILURES = {
    "refuse": ("fedrec.errors.ConfigError('a.toml: unknown key\\n  did you mean b?')", 2),
    "violate": ("fedrec.errors.AuditError('entry 3 was edited')", 1),
    "break_": ("RuntimeError('no such thing')", 70),
    "interrupt": ("KeyboardInterrupt()", 130),
    "forbid": ("PermissionError(13, 'Permission denied', '/there')", 2),
}


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Sub-commands that fail in each way, mounted beside the real ones."""
    source = ["import fedrec.errors"]
    source += [f"def {name}() -> None:\n    raise {error}" for name, (error, _) in FAILURES.items()]
    (tmp_path / "failing_commands.py").write_text("\n".join(source))
    monkeypatch.syspath_prepend(tmp_path)
    extra = tuple(LazyCommand(name, f"failing_commands:{name}", "Fail.") for name in FAILURES)
    monkeypatch.setattr(main_module, "COMMANDS", COMMANDS + extra)
    yield
    sys.modules.pop("failing_commands", None)


def test_version_prints_the_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"fedrec {__version__}\n"


def test_without_arguments_the_help_lists_every_command(capsys):
    assert run([]) == 0
    shown = capsys.readouterr().out
    assert [command.name for command in COMMANDS if command.name not in shown] == []


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_can_be_imported_and_explains_itself(command, capsys):
    assert run([command, "--help"]) == 0
    assert f"fedrec {command}" in capsys.readouterr().out


@pytest.mark.parametrize("name", FAILURES)
def test_an_error_is_one_line_on_stderr_and_a_code(name, failing, capsys):
    assert run([name]) == FAILURES[name][1]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_an_unexpected_error_says_how_to_see_its_traceback_and_debug_shows_it(failing, capsys):
    run(["break_"])
    assert "--debug" in capsys.readouterr().err
    run(["--debug", "break_"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulat"], "simulate"),
        (["--colour"], "--colour"),
        (["simulate"], "SCENARIO"),
        (["simulate", "tiny", "--place", "moon"], "moon"),
        (["simulate", "tiny", "--st", "a=b"], "--set"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line_and_code_2(arguments, says, capsys):
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "--help" in error
    assert error.count("\n") == 1


def test_flower_is_told_not_to_phone_home_unless_the_user_has_spoken(monkeypatch):
    monkeypatch.delenv("FLWR_TELEMETRY_ENABLED", raising=False)
    monkeypatch.setenv("FLWR_DISABLE_UPDATE_CHECK", "0")
    run(["--version"])
    assert os.environ["FLWR_TELEMETRY_ENABLED"] == "0"
    assert os.environ["FLWR_DISABLE_UPDATE_CHECK"] == "0"


def test_help_imports_neither_torch_nor_flower_nor_any_command():
    program = (
        "import sys; from fedrec.cli.main import run; run(['--help']);"
        "print([m for m in sys.modules if m in ('torch', 'flwr', 'numpy', 'pydantic', 'fedrec.cli.simulate')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_help_loads_nothing_that_takes_long():
    program = (
        "import sys; from fedrec.cli.main import run; run(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "simulate" in told.stdout
    assert "'typer'" in told.stderr
    assert [name for name in ("torch", "flwr", "numpy", "scipy", "pydantic") if f"'{name}'" in told.stderr] == []


def test_loggers_that_set_their_own_level_are_held_to_warnings():
    program = (
        "import logging; from fedrec.cli.main import run; run([]); loud = logging.getLogger('flwr');"
        "loud.setLevel(logging.DEBUG); loud.debug('chatter'); loud.warning('trouble')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == "WARNING flwr: trouble\n"


def test_the_help_of_a_command_says_what_its_arguments_are(capsys):
    assert run(["privacy", "report", "--help"]) == 0
    assert "A run's folder, or a ledger file." in capsys.readouterr().out
