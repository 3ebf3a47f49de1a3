"""The same store on a real PostgreSQL, started on a free port as another user than root, and ended."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedrec.flower.events import What
from server.operations.database import PASSWORD, OperationsError
from server.operations.rollout import Figures, Rollouts
from server.operations.store import OperationsStore

pytestmark = [pytest.mark.xdist_group("operations-postgres"), pytest.mark.process, pytest.mark.timeout(120)]
pytest.importorskip("psycopg")

SECRET = "s3cret-of-the-test"


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or os.geteuid() != 0:
        pytest.skip("PostgreSQL is not installed, or there is no other user to run it as")
    return found[-1].parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Yield the URL of a database, without its password."""
    place, user = binaries(), pwd.getpwnam("postgres")
    folder = Path(tempfile.mkdtemp(prefix="fr-pg-", dir="/tmp"))
    shutil.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        done = subprocess.run(
            command, user=user.pw_uid, group=user.pw_gid, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    secret = folder / "password"
    secret.write_text(SECRET)
    shutil.chown(secret, user.pw_uid)
    data = str(folder / "data")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run(str(place / "initdb"), "-D", data, "-A", "scram-sha-256", "--pwfile", str(secret), "-U", "fedrec", "--no-sync")
    try:
        run(str(place / "pg_ctl"), "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
        yield f"postgresql://fedrec@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            (str(place / "pg_ctl"), "-D", data, "-m", "immediate", "stop"),
            user=user.pw_uid,
            cwd=folder,
            capture_output=True,
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def by_postgres(postgres, monkeypatch) -> Iterator[OperationsStore]:
    monkeypatch.setenv(PASSWORD, SECRET)
    store = OperationsStore.open(postgres)
    yield store
    store.close()


def test_a_run_an_alarm_a_command_and_a_roll_out_are_kept_in_postgresql(
    by_postgres, postgres, run_folder, tell, a_good_round, published, tmp_path
):
    store = by_postgres
    tell(What.RUN_BEGAN, rounds=2, population=10, nodes=2, resumed=True)
    a_good_round(1)
    tell(What.ALARM, 1, kind="exposure", text="an item jumps", subject="item 7", value=0.5, bound=0.1)
    tell(What.QUALITY, 1, **{"ndcg@10": 0.25})
    other = OperationsStore.open(postgres)
    assert (store.ingest(run_folder), other.ingest(run_folder)) == (8, 0)
    other.close()
    (run,) = store.runs()
    assert (run.last_round, run.resumed, run.standing) == (1, 1, "running")
    (round_,) = store.rounds("spring")
    assert (round_.standing, round_.taken, round_.epsilon) == ("committed", 2, 0.5)
    (alarm,) = store.alarms(open_only=True)
    assert (alarm.subject, alarm.value, alarm.bound) == ("item 7", 0.5, 0.1)
    assert store.acknowledge(alarm.id, who="ada", time=1.0)
    store.record_command(time=1.0, who="ada", what="pause", run="spring")
    assert [command.what for command in store.commands()] == ["pause"]
    store.set_devices({"kitchen": ("ada", "online")})
    assert [(device.key, device.taken) for device in store.devices()] == [("hall", 1), ("kitchen", 1)]
    store.raise_alarm(time=2.0, kind="disk", text="little is free")
    assert len(store.alarms()) == 2
    assert store.standings("spring") == {"committed": 1}
    _rolls_out(store, published, tmp_path)


def _rolls_out(store, published, tmp_path):
    path = tmp_path / "model.bin"
    for content, permille in ((b"good", 1000), (b"worse", 10)):
        path.write_bytes(content)
        published.publish("model", "d" * 64, {"model.bin": path}, permille=permille)
    rollouts = Rollouts(publications=published, store=store, clock=lambda: 5.0)
    rollouts.record(Figures(version=1, devices=20, quality=0.5))
    rollouts.record(Figures(version=2, devices=20, quality=float("nan")))
    assert rollouts.look().standing == "taken-back"


@pytest.mark.abuse
def test_a_wrong_password_is_refused_in_a_sentence_without_it(by_postgres, postgres, monkeypatch):
    monkeypatch.setenv(PASSWORD, "wrong-but-secret")
    with pytest.raises(OperationsError, match="password authentication failed") as caught:
        OperationsStore.open(postgres)
    assert "wrong-but-secret" not in str(caught.value)


@pytest.mark.fault
def test_a_database_that_is_gone_is_one_sentence_and_not_a_wait(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(OperationsError, match="does not work"):
        OperationsStore.open(f"postgresql://fedrec@127.0.0.1:{port}/postgres")
