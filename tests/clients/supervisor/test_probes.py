"""Against folders that look like the kernel's."""

import pytest

from clients.supervisor import probes
from clients.supervisor.eligibility import Power


def supply(root, name: str, **values: str) -> None:
    folder = root / "sys/class/power_supply" / name
    folder.mkdir(parents=True)
    for key, value in values.items():
        (folder / key).write_text(f"{value}\n")


def test_a_board_without_supplies_says_nothing_of_power(tmp_path):
    assert probes.power(tmp_path) is None


def test_a_laptop_on_mains_is_on_mains_however_empty_its_battery(tmp_path):
    supply(tmp_path, "AC", type="Mains", online="1")
    supply(tmp_path, "BAT0", type="Battery", capacity="7", status="Charging")
    assert probes.power(tmp_path) == Power(on_mains=True, battery=0.07)


def test_a_laptop_that_was_unplugged_is_on_its_battery(tmp_path):
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", capacity="93", status="Discharging")
    assert probes.power(tmp_path) == Power(on_mains=False, battery=0.93)


def test_a_gateway_that_knows_its_battery_alone_is_on_it_while_it_empties(tmp_path):
    supply(tmp_path, "bat", type="Battery", capacity="50", status="Discharging")
    assert probes.power(tmp_path) == Power(on_mains=False, battery=0.5)


def test_a_mouse_s_battery_is_not_the_device_s(tmp_path):
    supply(tmp_path, "hid-1", type="Battery", scope="Device", capacity="3", status="Discharging")
    assert probes.power(tmp_path) is None


def test_the_hottest_zone_counts(tmp_path):
    for number, degrees in enumerate(("41000", "78500", "-2000")):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(degrees)
    assert probes.temperature(tmp_path) == 78.5
    assert probes.temperature(tmp_path / "nowhere") is None


def test_available_memory_is_read(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 999 kB\nMemAvailable:    2048 kB\n")
    assert probes.free_memory(tmp_path) == 2 << 20
    assert probes.free_memory(tmp_path / "nowhere") is None


def write_stat(root, *, busy: int, idle: int, own: int) -> None:
    (root / "proc/7").mkdir(parents=True, exist_ok=True)
    (root / "proc/stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1 1 1 1\n")
    (root / "proc/7/stat").write_text(f"7 (a) b) R 1 1 1 0 -1 0 0 0 0 0 {own} 0 0 0 39 19 4 0\n")


def test_the_processor_time_of_the_device_s_own_training_is_not_others(tmp_path):
    busy = probes.OthersBusy(lambda: [7], tmp_path)
    write_stat(tmp_path, busy=1000, idle=1000, own=100)
    assert busy() is None
    write_stat(tmp_path, busy=1080, idle=1020, own=170)
    assert busy() == pytest.approx(0.10)
    write_stat(tmp_path, busy=1170, idle=1030, own=170)
    assert busy() == pytest.approx(0.90)


@pytest.mark.parametrize(
    ("shown", "metered"),
    [
        (None, None),
        ("", False),
        ("100 (connected)\nyes (guessed)\n\n10 (unmanaged)\nunknown\n", True),
        ("100 (connected)\nno\n30 (disconnected)\nyes\n", False),
    ],
)
def test_a_connected_network_that_networkmanager_takes_for_metered_is(shown, metered):
    assert probes.metered(lambda command: shown) is metered


def test_this_machine_s_own_probes_give_what_eligibility_expects():
    assert (probes.free_memory() or 0) > 0
    assert isinstance(probes.power(), Power | None)
    probes.temperature()
