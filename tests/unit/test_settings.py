"""Settings: every variable, its bounds, and what a wrong value says."""

from __future__ import annotations

import pytest

from cache import CacheSettings, ConfigurationError, InvalidTTLError
from cache.keys import Kind
from cache.settings import check_ttl

TTLS = {"CACHE_DEFAULT_TTL": Kind.SESSION, "CACHE_EMBEDDING_TTL": Kind.EMBEDDING}
TTLS["CACHE_OPENAI_RESPONSE_TTL"] = Kind.OPENAI_RESPONSE


def test_the_documented_defaults() -> None:
    """Without any variable the cache is on, with the documented times to live."""
    settings = CacheSettings()
    lives = {kind: settings.ttl_s(kind) for kind in Kind}
    assert list(lives.values()) == [604800, 21600, 3600, 3600, 3600, 10]
    assert (settings.compression_threshold_bytes, settings.deadline_ms) == (1024, 100)
    assert (settings.redis_url, settings.namespace, settings.key_secret) == (None, None, None)
    assert all(settings.is_enabled(kind) for kind in Kind)


@pytest.mark.parametrize(("variable", "kind"), TTLS.items())
def test_a_time_to_live_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, kind: Kind) -> None:
    """Each kind follows the variable that governs it."""
    monkeypatch.setenv(variable, "77")
    assert CacheSettings().ttl_s(kind) == 77


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("CACHE_DEFAULT_TTL", "soon", "integer"),
        ("CACHE_EMBEDDING_TTL", "0", "greater than or equal to 1"),
        ("CACHE_OPENAI_RESPONSE_TTL", "99999999999", "less than or equal to"),
        ("CACHE_COMPRESSION_THRESHOLD", "-1", "greater than or equal to 0"),
        ("CACHE_DEADLINE_MS", "0", "greater than or equal to 1"),
        ("CACHE_ENABLED", "perhaps", "boolean"),
        ("CACHE_NAMESPACE", "emb", "none of emb, health"),
    ],
)
def test_a_wrong_value_names_variable_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    """The message alone is enough to mend it."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        CacheSettings()
    assert all(word in str(caught.value) for word in (variable, value, allowed))


def test_an_unknown_argument_is_an_error() -> None:
    """A misspelt setting is not passed over."""
    with pytest.raises(ConfigurationError, match="embeding_ttl_s"):
        CacheSettings(embeding_ttl_s=5)


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code says is meant."""
    monkeypatch.setenv("CACHE_NAMESPACE", "env")
    assert CacheSettings(namespace="code").namespace == "code"
    assert CacheSettings().namespace == "env"


@pytest.mark.parametrize("variable", ["REDIS_URL", "CACHE_NAMESPACE", "CACHE_KEY_SECRET", "OPENAI_BASE_URL"])
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Compose files and shells set variables to nothing."""
    monkeypatch.setenv(variable, "")
    settings = CacheSettings()
    found = [settings.redis_url, settings.namespace, settings.key_secret, settings.openai_base_url]
    assert found == [None] * len(found)


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither printing the settings nor their representation gives it away."""
    monkeypatch.setenv("CACHE_KEY_SECRET", "hush-hush")
    settings = CacheSettings()
    assert settings.secret_bytes() == b"hush-hush"
    assert "hush" not in f"{settings} {settings!r} {settings.model_dump()}"


def test_kinds_are_switched_off_alone_or_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CACHE_ENABLED=0` is all of them."""
    monkeypatch.setenv("CACHE_EMBEDDING_ENABLED", "0")
    settings = CacheSettings()
    assert [kind for kind in Kind if not settings.is_enabled(kind)] == [Kind.EMBEDDING]
    monkeypatch.setenv("CACHE_ENABLED", "0")
    assert not any(CacheSettings().is_enabled(kind) for kind in Kind)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "60", None, 10**10])
def test_a_time_to_live_is_a_whole_number_of_seconds(wrong: object) -> None:
    """Anything else is named in the error."""
    with pytest.raises(InvalidTTLError, match="whole seconds"):
        check_ttl(wrong)  # type: ignore[arg-type]  # that is the test
