import pytest
from prometheus_client import CollectorRegistry, generate_latest

from clients.local_store import Event, LocalStore
from clients.supervisor.metrics import NodeCollector, coarse
from clients.supervisor.places import NODE
from clients.supervisor.reports import NodeReport, steady_now

pytestmark = pytest.mark.abuse


def test_f74_a_scrape_of_one_device_names_no_user_no_item_no_device_and_no_exact_count(device):
    """Case F74, the device's half."""
    with LocalStore.open(device.store) as store:
        for number in range(7):
            store.record(Event("me", f"canary-item-{number}", 1000.0 + number, "interaction"))
            store.count("trained")
        NodeReport(
            process=1,
            written=steady_now(),
            state="running",
            poll_age=3.0,
            obstacles=(("power", "canary detail"),),
        ).write(device.run / NODE)
        registry = CollectorRegistry()
        registry.register(NodeCollector(device, store))
        text = generate_latest(registry).decode()
    assert "canary" not in text
    assert '"me"' not in text
    assert 'device"' not in text.replace("fedrec_device", "")
    assert 'fedrec_device_phases_total{phase="trained",reason=""} 5.0' in text
    assert 'fedrec_device_obstacle{name="power"} 1.0' in text
    assert 'fedrec_device_obstacle{name="owner"} 0.0' in text


def test_counts_are_rounded_down_to_a_few_steps():
    assert [coarse(count) for count in (-1, 0, 1, 3, 7, 49, 5000)] == [0, 0, 1, 2, 5, 20, 1000]
