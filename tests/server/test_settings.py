from pathlib import Path

import pytest

from server.settings import Settings, SettingsError


def test_arguments_win_over_the_environment_and_it_over_defaults() -> None:
    environment = {"TELOS_HTTP_PORT": "9000", "TELOS_GRPC_PORT": "9001", "TELOS_CHECKPOINTS": "/models", "HOME": "/"}
    settings = Settings.from_environment(environment, http_port=9100, device=None)
    assert (settings.http_port, settings.grpc_port, settings.device) == (9100, 9001, "cpu")
    assert settings.checkpoints == Path("/models")


def test_the_defaults_are_for_this_machine_only() -> None:
    settings = Settings()
    assert (settings.host, settings.http_port, settings.grpc_port, settings.token) == ("127.0.0.1", 8600, 8601, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "robot.local"])
@pytest.mark.parametrize("half", [{}, {"allow_remote": True}, {"token": "secret"}])
def test_other_machines_are_let_in_only_on_purpose_and_with_a_token(host: str, half: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="allow_remote and a token"):
        Settings(host=host, **half)  # type: ignore[arg-type]
    Settings(host=host, allow_remote=True, token="secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    Settings(host=host)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TELOS_HTTP_PORT": "many"}, "TELOS_HTTP_PORT is 'many'; wanted int"),
        ({"TELOS_HTTP_PORT": "70000"}, "http_port=70000 is not a port"),
        ({"TELOS_ALLOW_REMOTE": "perhaps"}, "wanted true or false"),
        ({"TELOS_MAX_IN_FLIGHT": "0"}, "max_in_flight=0; wanted at least 1"),
        ({"TELOS_TOKEN": "a b"}, "token must be printable"),
    ],
)
def test_a_bad_setting_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(environment)


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Settings(token="secret"))


def test_the_engines_process_reads_what_the_front_was_given_but_nothing_secret() -> None:
    given = Settings(device="cuda", max_samples=7, session_ttl_s=1.5, host="0.0.0.0", allow_remote=True, token="secret")
    environment = given.engine_environment()
    assert "secret" not in environment.values()
    listening = {"host": given.host, "allow_remote": True, "token": given.token}
    assert Settings.from_environment(environment, **listening) == given
