import pytest

from clients.device.settings import DeviceSettings, EligibilitySettings, ServerSettings
from fedrec.errors import ConfigError

OWN = DeviceSettings(
    key="kitchen",
    server=ServerSettings(address="example.org:8443"),
    users=("a", 'b "quoted"'),
    eligibility=EligibilitySettings(windows=("22:00-06:00", "12:00-13:30"), max_busy=0.25),
)


def test_settings_are_read_as_they_were_written(tmp_path):
    OWN.save(tmp_path / "device.toml")
    assert DeviceSettings.load(tmp_path / "device.toml") == OWN
    assert (tmp_path / "device.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ("max_busy = 0.25", "max_bussy = 0.25", "max_bussy"),
        ("max_busy = 0.25", 'max_busy = "much"', "max_busy"),
        ("max_busy = 0.25", "max_busy = 7.0", "max_busy"),
        ('address = "example.org:8443"', 'address = "example.org"', "address"),
        ('key = "kitchen"', 'key = "../kitchen"', "key"),
        ("schema = 1", "schema = 2", "schema"),
        ("orders_seconds = 20.0", "orders_seconds = 300.0", "orders_seconds"),
        ("check_seconds = 2.0", "check_seconds = 30.0", "check_seconds"),
        ("wall_seconds = 900.0", "wall_seconds = true", "wall_seconds"),
        ('"22:00-06:00"', '"22-6"', "windows"),
        ("retention_days = 365", "retention_days = 0", "retention_days"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, line, instead, named):
    text = OWN.to_toml()
    assert line in text
    path = tmp_path / "device.toml"
    path.write_text(text.replace(line, instead, 1))
    with pytest.raises(ConfigError, match=named):
        DeviceSettings.load(path)


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "192.168.1.7:50051", "example.org:1"])
def test_the_local_service_is_not_opened_to_a_network(tmp_path, address):
    path = tmp_path / "device.toml"
    path.write_text(OWN.to_toml().replace('[api]\naddress = ""', f'[api]\naddress = "{address}"'))
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1"):
        DeviceSettings.load(path)


def test_a_folder_without_settings_is_told_how_to_become_a_device(tmp_path):
    with pytest.raises(ConfigError, match="fedrec device init"):
        DeviceSettings.load(tmp_path / "device.toml")
