"""Settings: file < environment < command line, and errors that name the setting."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from app.common.errors import DamagedSettingsError, FolderError, SettingsError
from app.settings import file as settings_file
from app.settings import loading
from app.settings.settings import Settings
from app.terms.terms import Terms

# field, environment variable, its text, the resulting value
RELAY = "/ip4/203.0.113.7/tcp/8080/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
ENVIRONMENT = [
    ("dht_port", "HIVEMIND_DHT_PORT", "9001", 9001),
    ("server_port", "HIVEMIND_SERVER_PORT", "9002", 9002),
    ("initial_peers", "HIVEMIND_INITIAL_PEERS", "/a/b, /c/d", ("/a/b", "/c/d")),
    ("initial_peers", "HIVEMIND_INITIAL_PEERS", "", ()),
    ("energy_price", "COTRAIN_ENERGY_PRICE", "0.35", 0.35),
    ("training_watts", "COTRAIN_TRAINING_WATTS", "120", 120.0),
    ("currency", "COTRAIN_CURRENCY", "CNY", "CNY"),
    ("hub_sign_in", "COTRAIN_HUB_SIGN_IN", "true", True),
    ("tensorboard", "COTRAIN_TENSORBOARD", "true", True),
    ("tracker", "COTRAIN_TRACKER", "wandb", "wandb"),
    ("tracker_python", "COTRAIN_TRACKER_PYTHON", "/usr/bin/python3", "/usr/bin/python3"),
    ("report_interval", "COTRAIN_REPORT_INTERVAL", "30", 30),
    ("snapshot_every", "COTRAIN_SNAPSHOT_EVERY", "20", 20),
    ("uplink", "COTRAIN_UPLINK", "12.5", 12.5),
    ("backend_url", "BACKEND_URL", "https://b.example:3001/api/v1/", "https://b.example:3001"),
    ("backend_plain_http", "COTRAIN_BACKEND_PLAIN_HTTP", "true", True),
    ("refill", "COTRAIN_REFILL", "always", "always"),
    ("debug", "DEBUG", "true", True),
    ("debug", "DEBUG", "0", False),
    ("device", "COTRAIN_DEVICE", "cuda:0,cuda:1", "cuda:0,cuda:1"),
    ("update_url", "COTRAIN_UPDATE_URL", "https://a.example/n.json", "https://a.example/n.json"),
    ("update_key", "COTRAIN_UPDATE_KEY", "A" * 43 + "=", "A" * 43 + "="),
    ("threads", "COTRAIN_THREADS", "3", 3),
    ("theme", "COTRAIN_THEME", "dark", "dark"),
    ("language", "COTRAIN_LANGUAGE", "zh_CN", "zh_CN"),
    ("reachability", "COTRAIN_REACHABILITY", "client", "client"),
    ("announce", "COTRAIN_ANNOUNCE", "a.example, 1.2.3.4", ("a.example", "1.2.3.4")),
    ("trusted_relays", "COTRAIN_TRUSTED_RELAYS", RELAY, (RELAY,)),
    ("go_back", "COTRAIN_GO_BACK", "false", False),
    ("close_to_tray", "COTRAIN_CLOSE_TO_TRAY", "true", True),
    ("notifications", "COTRAIN_NOTIFICATIONS", "paused, attention", ("paused", "attention")),
    ("notifications", "COTRAIN_NOTIFICATIONS", "", ()),
    ("alerts", "COTRAIN_ALERTS", "silent, hot", ("silent", "hot")),
    ("alert_lab", "COTRAIN_ALERT_LAB", "*", "*"),
    ("alert_urls", "COTRAIN_ALERT_URLS", "json://a/b,c xml://d", ("json://a/b,c", "xml://d")),
    ("alert_quiet", "COTRAIN_ALERT_QUIET", "22:00-07:00", "22:00-07:00"),
    ("alert_temperature", "COTRAIN_ALERT_TEMPERATURE", "80", 80),
    ("alert_disk", "COTRAIN_ALERT_DISK", "0.5", 0.5),
    ("record", "COTRAIN_RECORD", "false", False),
    ("publish_machine", "COTRAIN_PUBLISH_MACHINE", "false", False),
    ("alias", "COTRAIN_ALIAS", "lab-01", "lab-01"),
    ("lab", "COTRAIN_LAB", "vision-lab", "vision-lab"),
    ("lab_key", "COTRAIN_LAB_KEY", "A" * 43 + "=", "A" * 43 + "="),
    ("lab_commands", "COTRAIN_LAB_COMMANDS", "false", False),
    ("callback", "COTRAIN_CALLBACK", "false", False),
    ("callback_host", "COTRAIN_CALLBACK_HOST", "0.0.0.0", "0.0.0.0"),
    ("callback_port", "PORT", "9003", 9003),
    ("callback_allowed_hosts", "COTRAIN_CALLBACK_ALLOWED_HOSTS", "A.b, c", ("a.b", "c")),
    ("callback_origins", "COTRAIN_CALLBACK_ORIGINS", "https://A.b:1", ("https://a.b:1",)),
    ("callback_certificate", "COTRAIN_CALLBACK_CERTIFICATE", "/c.pem", "/c.pem"),
    ("callback_key", "COTRAIN_CALLBACK_KEY", "/k.pem", "/k.pem"),
    ("consent", "COTRAIN_CONSENT", "always", "always"),
    ("consent_backends", "COTRAIN_CONSENT_BACKENDS", "10.0.0.0/8", ("10.0.0.0/8",)),
    ("terms", "COTRAIN_TERMS__IDLE_MINUTES", "10", Terms(idle_minutes=10)),
    ("terms", "COTRAIN_TERMS", '{"mains_only": true}', Terms(mains_only=True)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def put(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(values), encoding="utf-8")


# --- where a value comes from --------------------------------------------------------------------


def test_without_a_file_the_defaults_are_used(file: Path) -> None:
    assert loading.load(file).model_dump() == Settings().model_dump()


@pytest.mark.parametrize(("field", "name", "said", "value"), ENVIRONMENT)
def test_environment_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch, field: str, name: str, said: str, value: Any
) -> None:
    monkeypatch.setenv(name, said)
    assert getattr(loading.load(file), field) == value


def test_origins_names_variables_and_options_that_override_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("hivemind_dht_port", "0")
    assert loading.origins({"backend_url": "https://b.example"}) == {
        "dht_port": "HIVEMIND_DHT_PORT",
        "backend_url": "--backend-url",
    }


def test_every_fields_environment_variable_is_tested() -> None:
    assert {row[0] for row in ENVIRONMENT} == set(Settings.model_fields)


def test_file_is_read(file: Path) -> None:
    put(file, dht_port=1, initial_peers=["/a/b"], debug=True)
    found = loading.load(file)
    assert (found.dht_port, found.initial_peers, found.debug) == (1, ("/a/b",), True)


@pytest.mark.parametrize("in_file", [None, 1])
@pytest.mark.parametrize("in_environment", [None, 2])
@pytest.mark.parametrize("on_command_line", [None, 3])
def test_command_line_beats_environment_beats_file(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_file: int | None,
    in_environment: int | None,
    on_command_line: int | None,
) -> None:
    if in_file is not None:
        put(file, dht_port=in_file)
    if in_environment is not None:
        monkeypatch.setenv("HIVEMIND_DHT_PORT", str(in_environment))
    overrides = {} if on_command_line is None else {"dht_port": on_command_line}
    expected = on_command_line or in_environment or in_file or Settings().dht_port
    assert loading.load(file, overrides).dht_port == expected


def test_sources_are_merged_field_by_field(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file, dht_port=1)
    monkeypatch.setenv("HIVEMIND_SERVER_PORT", "2")
    found = loading.load(file, {"threads": 3})
    assert (found.dht_port, found.server_port, found.threads) == (1, 2, 3)


def test_terms_are_merged_one_by_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file, terms={"idle_minutes": 5, "mains_only": True})
    monkeypatch.setenv("COTRAIN_TERMS__MAX_TEMPERATURE", "80")
    found = loading.load(file, {"terms": {"idle_minutes": "10"}})
    assert found.terms == Terms(idle_minutes=10, mains_only=True, max_temperature=80)


def test_changed_terms_leave_the_others_as_they_are(file: Path) -> None:
    put(file, terms={"idle_minutes": 5, "mains_only": True})
    changes = {"terms": {"idle_minutes": 0}}
    assert loading.changed(loading.load(file), changes).terms == Terms(mains_only=True)
    loading.save(file, changes)
    assert loading.load(file).terms == Terms(mains_only=True)


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dht_port", "x"),
        ("dht_port", -1),
        ("server_port", 65536),
        ("threads", -1),
        ("theme", "pink"),
        ("language", "tlh"),
        ("device", "GPU one"),
        ("device", "cuda:0,"),
        ("initial_peers", 3),
        ("reachability", "perhaps"),
        ("announce", "a.example:8080"),
        ("announce", "/ip4/203.0.113.7/tcp/0"),
        ("announce", "/ip4/203.0.113.7/udp/1"),
        ("trusted_relays", "/ip4/203.0.113.7/tcp/8080"),
        ("tracker", "os"),
        ("report_interval", 9),
        ("snapshot_every", -1),
        ("snapshot_every", 2_000_000),
        ("uplink", -1.0),
        ("uplink", float("nan")),
        ("debug", "perhaps"),
        ("callback_host", "localhost"),
        ("callback_port", 65536),
        ("callback_allowed_hosts", "a:80"),
        ("callback_allowed_hosts", "*"),
        ("callback_origins", "*"),
        ("callback_origins", "a.example"),
        ("callback_origins", "https://a.example/path"),
        ("consent", "perhaps"),
        ("update_url", "newest.json"),
        ("update_key", "a key"),
        ("lab_key", "a key"),
        ("lab_key", "A" * 42 + "B="),
        ("consent_backends", "everybody"),
        ("no_such_setting", 1),
    ],
)
def test_wrong_value_is_named(file: Path, field: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        loading.load(file, {field: value})
    assert caught.value.field == field
    assert repr(value) in caught.value.message
    assert str(file) in caught.value.remedy


def test_wrong_environment_variable_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEMIND_DHT_PORT", "http")
    with pytest.raises(SettingsError) as caught:
        loading.load(file)
    assert caught.value.field == "HIVEMIND_DHT_PORT"


def test_unknown_field_of_the_file_is_named(file: Path) -> None:
    put(file, colour="red")
    with pytest.raises(SettingsError) as caught:
        loading.load(file)
    assert caught.value.field == "colour"


def test_wrong_value_in_the_file_has_the_files_field_name(file: Path) -> None:
    put(file, dht_port="http")
    with pytest.raises(SettingsError) as caught:
        loading.load(file)
    assert caught.value.field == "dht_port"


DAMAGED = [
    b"{",
    b"\xff\xfe",
    b"not json",
    b"[1]",
    b"3",
    b"null",
    b"[" * 100_000,
    b'{"version": "x"}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_file_is_set_aside_and_reported(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DamagedSettingsError) as caught:
        loading.load(file)
    (aside,) = file.parent.glob("settings.damaged-*.json")
    assert (aside.read_bytes(), file.exists()) == (content, False)
    assert caught.value.field == str(file)
    assert str(aside) in caught.value.remedy
    assert loading.load(file).model_dump() == Settings().model_dump()


def test_load_or_mend_ignores_a_damaged_file(file: Path) -> None:
    file.write_bytes(b"{")
    found, problem = loading.load_or_mend(file, {"threads": 3})
    assert (found.threads, problem is None) == (3, False)
    assert loading.load_or_mend(file)[1] is None


def test_saving_over_a_damaged_file_keeps_it_aside(file: Path) -> None:
    file.write_bytes(b"{")
    loading.save(file, {"threads": 3})
    assert loading.load(file).threads == 3
    assert len(list(file.parent.glob("settings.damaged-*.json"))) == 1


# --- versions of the file ------------------------------------------------------------------------


def test_a_file_of_the_first_release_is_read(file: Path) -> None:
    put(file, threads=3, consent="never", initial_peers=["/a/b"])
    found = loading.load(file)
    assert (found.threads, found.consent, found.initial_peers) == (3, "never", ("/a/b",))


def test_a_saved_file_has_its_version(file: Path) -> None:
    loading.save(file, {"threads": 3})
    assert json.loads(file.read_bytes())["version"] == len(settings_file.MIGRATIONS)


def test_each_migration_runs_once_and_in_order(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(content: dict[str, Any]) -> dict[str, Any]:
        return {"threads" if key == "cores" else key: value for key, value in content.items()}

    def double(content: dict[str, Any]) -> dict[str, Any]:
        return content | {"threads": 2 * content["threads"]}

    put(file, cores=3)
    monkeypatch.setattr(settings_file, "MIGRATIONS", (*settings_file.MIGRATIONS, rename, double))
    assert loading.load(file).threads == 6
    loading.save(file, {"theme": "dark"})
    assert loading.load(file).threads == 6


def test_a_file_of_a_later_version_is_left_alone(file: Path) -> None:
    put(file, version=99, threads=3)
    before = file.read_bytes()
    for use in (lambda: loading.load(file), lambda: loading.save(file, {"threads": 4})):
        with pytest.raises(SettingsError, match="later version"):
            use()
    assert file.read_bytes() == before


def test_unreadable_file_is_named(file: Path) -> None:
    file.mkdir()
    with pytest.raises(SettingsError) as caught:
        loading.load(file)
    assert caught.value.field == str(file)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().threads = 3  # type: ignore[misc]


# --- saving --------------------------------------------------------------------------------------


def test_saved_value_is_loaded(file: Path) -> None:
    loading.save(file, {"theme": "dark", "initial_peers": ["/a/b"]})
    found = loading.load(file)
    assert (found.theme, found.initial_peers) == ("dark", ("/a/b",))


def test_save_keeps_the_other_fields(file: Path) -> None:
    put(file, threads=3, theme="light")
    loading.save(file, {"theme": "dark"})
    assert settings_file.read(file) == {"threads": 3, "theme": "dark"}


def test_save_never_writes_values_of_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEMIND_DHT_PORT", "9001")
    loading.save(file, {"theme": "dark"})
    assert settings_file.read(file) == {"theme": "dark"}


def test_saved_file_is_the_owners_alone(file: Path) -> None:
    put(file, threads=3)
    file.chmod(0o644)
    loading.save(file, {"theme": "dark"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_failed_save_leaves_the_old_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    loading.save(file, {"threads": 3})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="No space") as caught:
        loading.save(file, {"threads": 4})
    assert caught.value.field == str(file)
    assert loading.load(file).threads == 3


@pytest.mark.parametrize(
    "url",
    [
        *("", "backend:3001", "ftp://b.example", "https://", "https://b:port"),
        *("https://me:pw@b.example", "https://b.example/?token=1", "https://b.example/#x"),
    ],
)
def test_invalid_backend_url_is_refused(file: Path, url: str) -> None:
    put(file, backend_url=url)
    with pytest.raises(SettingsError) as raised:
        loading.load(file)
    assert raised.value.field == "backend_url"


@pytest.mark.parametrize(
    "url", ["https://b.example/", " https://b.example", "https://b.example/api/v1"]
)
def test_pasted_backend_url_is_cleaned(file: Path, url: str) -> None:
    put(file, backend_url=url)
    assert loading.load(file).backend_url == "https://b.example"


# --- changes while the app runs ------------------------------------------------------------------


def test_a_change_leaves_the_other_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTRAIN_THREADS", "7")
    now = loading.changed(Settings(threads=3), {"theme": "dark"})
    assert (now.theme, now.threads) == ("dark", 3)


def test_invalid_change_names_the_field() -> None:
    with pytest.raises(SettingsError) as caught:
        loading.changed(Settings(), {"dht_port": 70000})
    assert caught.value.field == "dht_port"


def test_a_wrong_term_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(file, terms={"max_temperature": 8})
    with pytest.raises(SettingsError, match="must be at least 40") as raised:
        loading.load(file)
    assert raised.value.field == "terms.max_temperature"
    monkeypatch.setenv("COTRAIN_TERMS", "idle")
    with pytest.raises(SettingsError, match="JSON") as raised:
        loading.load(file)
    assert raised.value.field == "COTRAIN_TERMS"


def test_secrets_are_not_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTRAIN_ALERT_URLS", "mailto-me:secret@host")
    with pytest.raises(SettingsError) as raised:
        loading.load(None)
    assert "mailto://" in raised.value.text
    assert "secret" not in raised.value.text


@pytest.mark.parametrize("hours", ["22-7", "24:00-07:00", "22:00–07:00", "22:60-07:00"])
def test_quiet_hours_have_one_form(hours: str) -> None:
    with pytest.raises(SettingsError, match="alert_quiet"):
        loading.load(None, {"alert_quiet": hours})
