"""What the churn bench writes for machines."""

import json
from collections import Counter

from fedrec.cli.bench_churn import record_of
from fedrec.cli.bench_pacing import with_pacing
from fedrec.flower.events import What
from simulations.benches.machine import Machine
from simulations.churn.soak import Found
from simulations.churn.traces import diurnal_trace
from tests.simulations.churn.written_trace import write_trace


def test_a_record_is_json_with_its_events_by_name():
    found = Found(committed=3, events=Counter({What.ROUND_COMMITTED: 3}), rss_mib=[1.0])
    record = json.loads(json.dumps(record_of(found)))
    assert record["events"] == {"round-committed": 3}
    assert record["committed_share"] == 1.0


def test_days_of_a_trace_are_played_with_and_without_hints(tmp_path, capsys):
    write_trace(diurnal_trace(200, 4, seed=1), tmp_path / "trace.csv")
    machine = Machine.here(threads=1)
    with_pacing(machine, devices=0, days=0, file=tmp_path / "trace.csv", seed=0, store=None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["work"]["devices"] == 200
    assert told["paced"]["worst"] < told["unpaced"]["worst"]
    with_pacing(machine, devices=0, days=0, file=tmp_path / "trace.csv", seed=0, store=None, as_json=False)
    assert "without hints" in capsys.readouterr().out
