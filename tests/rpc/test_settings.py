"""Where settings come from, which ones win, and how plainly a mistake is told."""

from pathlib import Path

import pytest

from jobhall_server.settings import Settings, SettingsError, load_settings


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    config = tmp_path / "jobhall.toml"
    config.write_text('listen = "127.0.0.1:1"\nwatchers_max = 1\nreflection = false\n')
    environment = {"JOBHALL_LISTEN": "127.0.0.1:2", "JOBHALL_WATCHERS_MAX": "2"}

    loaded = load_settings({"listen": "127.0.0.1:3"}, environment=environment, config=config)

    assert loaded.settings.listen == "127.0.0.1:3"
    assert loaded.settings.watchers_max == 2
    assert not loaded.settings.reflection
    assert loaded.settings.auto_register
    assert loaded.origins["listen"] == "--listen"
    assert loaded.origins["watchers_max"] == "JOBHALL_WATCHERS_MAX"
    assert loaded.origins["reflection"] == str(config)
    assert loaded.origins["auto_register"] == "default"


def test_a_misspelled_variable_is_a_warning_and_a_clients_variable_is_none() -> None:
    environment = {"JOBHALL_LISTENN": "x", "JOBHALL_ADDRESS": "y", "JOBHALL_TOKEN": "z"}

    assert [line.split()[0] for line in load_settings({}, environment=environment).warnings] == ["JOBHALL_LISTENN"]


def test_an_unknown_key_of_the_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    config = tmp_path / "jobhall.toml"
    config.write_text("watchers = 3\n")

    with pytest.raises(SettingsError, match="unknown settings: watchers"):
        load_settings({}, environment={"JOBHALL_CONFIG": str(config)})


@pytest.mark.parametrize("content", [b"listen = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "jobhall.toml"
    config.write_bytes(content)

    with pytest.raises(SettingsError, match=r"jobhall\.toml is not TOML"):
        load_settings({}, environment={}, config=config)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings({}, environment={}, config=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LISTEN", "0.0.0.0:50051", "without authentication everybody is the admin"),
        ("LISTEN", "example.org:50051", "without authentication everybody is the admin"),
        ("LISTEN", "50051", "write host:port"),
        ("LISTEN", "127.0.0.1:70000", "write host:port"),
        ("HTTP_LISTEN", "127.0.0.1:8080", "HTTP is not built yet"),
        ("AUTH", "jwt", "not built yet"),
        ("AUTH", "magic", "'none'"),
        ("SESSION_TTL_SECONDS", "9.9", "less than twice heartbeat_seconds"),
        ("HEARTBEAT_SECONDS", "0", "greater than 0"),
        ("WATCHERS_MAX", "many", "integer"),
        ("AUTO_REGISTER", "perhaps", "boolean"),
        ("WAIT", "long", "boolean"),
        ("SYNCHRONOUS", "SOMETIMES", "'FULL'"),
        ("TABLE_PREFIX", "Robert'); --", "pattern"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_name_and_where_it_came_from(
    variable: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environment={f"JOBHALL_{variable}": value})

    message = str(caught.value)
    assert message.startswith(f"{variable.lower()}: ")
    assert said in message
    assert message.endswith(f"(from JOBHALL_{variable})")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:1", "[::1]:2", "127.9.9.9:3"])
def test_without_authentication_the_server_listens_on_this_machine_only(listen: str) -> None:
    assert load_settings({}, environment={"JOBHALL_LISTEN": listen}).settings.listen == listen


def test_the_network_is_listened_on_when_told_so_in_so_many_words() -> None:
    environment = {"JOBHALL_LISTEN": "0.0.0.0:50051", "JOBHALL_ALLOW_UNAUTHENTICATED_NETWORK": "true"}

    assert load_settings({}, environment=environment).settings.listen == "0.0.0.0:50051"


def test_a_password_is_not_shown() -> None:
    environment = {"JOBHALL_DATABASE_URL": "postgresql://me:geheim@db/jobhall"}

    loaded = load_settings({}, environment=environment)

    assert "geheim" not in "\n".join(loaded.lines())
    assert "geheim" not in repr(loaded.settings)
    assert any("me:***@db/jobhall" in line for line in loaded.lines())


def test_every_setting_has_a_sentence_for_help() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]
