"""Settings: each variable is read, wrong values are explained, secrets are not shown."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr, ValidationError

from cache.deadline import Deadline
from cache.errors import ConfigurationError, InvalidTTLError
from cache.keys import Kind
from cache.settings import MAX_TTL_S, CacheSettings, check_ttl


class Variable(NamedTuple):
    name: str
    field: str
    text: str
    value: Any
    default: Any


KEYS = (SecretStr("A" * 43), SecretStr(f"2:{'B' * 42}E="))
VARIABLES = [
    Variable("REDIS_URL", "redis_url", "redis://example.com:6380/2", "redis://example.com:6380/2", None),
    Variable("CACHE_NAMESPACE", "namespace", "acme", "acme", None),
    Variable("CACHE_ENABLED", "enabled", "false", False, True),
    Variable("CACHE_EMBEDDING_ENABLED", "embedding_enabled", "0", False, True),
    Variable("CACHE_OPENAI_RESPONSE_ENABLED", "openai_response_enabled", "no", False, True),
    Variable("CACHE_JOB_MATCH_ENABLED", "job_match_enabled", "off", False, True),
    Variable("CACHE_OPTIMIZATION_ENABLED", "optimization_enabled", "False", False, True),
    Variable("CACHE_SESSION_ENABLED", "session_enabled", "n", False, True),
    Variable("CACHE_TOOL_RESULT_ENABLED", "tool_result_enabled", "0", False, True),
    Variable("CACHE_NODE_RESULT_ENABLED", "node_result_enabled", "0", False, True),
    Variable("CACHE_CORPUS_ENABLED", "corpus_enabled", "0", False, True),
    Variable("CACHE_DEFAULT_TTL", "default_ttl_s", "60", 60, 3600),
    Variable("CACHE_EMBEDDING_TTL", "embedding_ttl_s", "61", 61, 604_800),
    Variable("CACHE_EMBEDDING_DTYPE", "embedding_dtype", "int8", "int8", "float32"),
    Variable("CACHE_OPENAI_RESPONSE_TTL", "openai_response_ttl_s", "62", 62, 21_600),
    Variable("CACHE_COMPRESSION_THRESHOLD", "compression_threshold_bytes", "0", 0, 1024),
    Variable("CACHE_DEADLINE_MS", "deadline_ms", "250", 250, 100),
    Variable("CACHE_FLIGHT_WAIT_S", "flight_wait_s", "2.5", 2.5, 30.0),
    Variable("CACHE_NEAR_BYTES", "near_bytes", "67108864", 67_108_864, 0),
    Variable("CACHE_KEY_SECRET", "key_secret", "hush", SecretStr("hush"), None),
    Variable("CACHE_ENCRYPTION_KEYS", "encryption_keys", f"{'A' * 43},2:{'B' * 42}E=", KEYS, ()),
    Variable("CACHE_ADMIN_TOKEN", "admin_token", "hush", SecretStr("hush"), None),
    Variable("OPENAI_BASE_URL", "openai_base_url", "http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1", None),
    Variable("OPENAI_API_BASE", "openai_base_url", "http://127.0.0.1:2/v1", "http://127.0.0.1:2/v1", None),
]


def test_the_defaults_are_the_documented_ones() -> None:
    """Without any variable, every setting has its documented value."""
    settings = CacheSettings()
    found = {variable.field: getattr(settings, variable.field) for variable in VARIABLES}
    assert found == {variable.field: variable.default for variable in VARIABLES}


def test_every_setting_is_tested() -> None:
    """A setting that is added is added to these tests too."""
    assert {variable.field for variable in VARIABLES} == set(CacheSettings.model_fields)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_each_variable_is_read(monkeypatch: pytest.MonkeyPatch, variable: Variable) -> None:
    """A variable sets its own setting and no other."""
    plain = CacheSettings()
    monkeypatch.setenv(variable.name, variable.text)
    settings = CacheSettings()
    assert getattr(settings, variable.field) == variable.value
    assert settings == plain.model_copy(update={variable.field: variable.value})


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, variable: Variable) -> None:
    """What a compose file hands over as empty counts as not given."""
    monkeypatch.setenv(variable.name, "")
    assert getattr(CacheSettings(), variable.field) == variable.default


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_an_argument_goes_before_the_variable_and_none_is_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: Variable
) -> None:
    """An argument wins over the environment; one that is `None` leaves the environment in force."""

    def settled(value: Any) -> Any:
        return getattr(CacheSettings(**{variable.field: value}), variable.field)

    assert settled(variable.value) == variable.value
    monkeypatch.setenv(variable.name, variable.text)
    assert settled(None) == variable.value
    assert variable.default is None or settled(variable.default) == variable.default


def test_an_empty_namespace_is_no_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty argument says that there is no tenant, whatever the environment says."""
    monkeypatch.setenv("CACHE_NAMESPACE", "acme")
    assert CacheSettings(namespace="").namespace is None


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("CACHE_DEFAULT_TTL", "soon", "valid integer"),
        ("CACHE_DEFAULT_TTL", "0", "greater than or equal to 1"),
        ("CACHE_DEFAULT_TTL", "-5", "greater than or equal to 1"),
        ("CACHE_DEFAULT_TTL", "1.5", "valid integer"),
        ("CACHE_EMBEDDING_DTYPE", "float64", "'float32', 'float16' or 'int8'"),
        ("CACHE_EMBEDDING_TTL", "315360001", "less than or equal to 315360000"),
        ("CACHE_OPENAI_RESPONSE_TTL", "6h", "valid integer"),
        ("CACHE_COMPRESSION_THRESHOLD", "-1", "greater than or equal to 0"),
        ("CACHE_DEADLINE_MS", "0", "greater than or equal to 1"),
        ("CACHE_DEADLINE_MS", "60001", "less than or equal to 60000"),
        ("CACHE_FLIGHT_WAIT_S", "-1", "greater than or equal to 0"),
        ("CACHE_FLIGHT_WAIT_S", "inf", "less than or equal to 3600"),
        ("CACHE_FLIGHT_WAIT_S", "nan", "less than or equal to 3600"),
        ("CACHE_NEAR_BYTES", "-1", "greater than or equal to 0"),
        ("CACHE_NEAR_BYTES", "1048575", "0 or at least 1048576 bytes"),
        ("CACHE_NEAR_BYTES", "68719476737", "less than or equal to 68719476736"),
        ("CACHE_ENABLED", "maybe", "true or false"),
        ("CACHE_SESSION_ENABLED", "2", "true or false"),
        ("CACHE_NAMESPACE", "emb", "none of corpus, emb, forgotten, health, lease, match, node, openai, opt"),
        ("CACHE_NAMESPACE", "x" * 513, "1 to 512 characters"),
    ],
)
def test_a_wrong_value_is_explained(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, allowed: str) -> None:
    """The message names the variable, what came and what is allowed, each once."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError) as raised:
        CacheSettings()
    message = str(raised.value)
    assert message.startswith(f"{variable}: ")
    assert allowed in message
    assert message.count("got ") == 1
    assert message.endswith((f"got {text!r}", f"got {len(text)}"))


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message tells all that has to be corrected."""
    monkeypatch.setenv("CACHE_DEFAULT_TTL", "x")
    monkeypatch.setenv("CACHE_ENABLED", "perhaps")
    with pytest.raises(ConfigurationError, match=r"CACHE_ENABLED: .*; CACHE_DEFAULT_TTL: .*"):
        CacheSettings()


def test_a_wrong_argument_is_named_by_its_variable() -> None:
    """A wrong argument is explained in the same words; an unknown one is not swallowed."""
    with pytest.raises(ConfigurationError, match=r"CACHE_DEFAULT_TTL: .* got 0"):
        CacheSettings(default_ttl_s=0)
    with pytest.raises(ConfigurationError, match="ttl: "):
        CacheSettings(ttl=5)


@pytest.mark.parametrize(
    ("field", "variable"),
    [
        ("key_secret", "CACHE_KEY_SECRET"),
        ("admin_token", "CACHE_ADMIN_TOKEN"),
        ("redis_url", "REDIS_URL"),
        ("openai_base_url", "OPENAI_BASE_URL"),
    ],
)
def test_a_message_never_repeats_a_secret(field: str, variable: str) -> None:
    """Where a value may hold a secret, the message says what is wrong with it and not what it is."""
    with pytest.raises(ConfigurationError, match=f"{variable}: ") as raised:
        CacheSettings(**{field: ["s3cr3t"]})
    assert "s3cr3t" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_refused_token_is_not_repeated() -> None:
    """A token that cannot be sent in a header is refused without being shown."""
    with pytest.raises(ConfigurationError, match="CACHE_ADMIN_TOKEN: ") as raised:
        CacheSettings(admin_token=SecretStr("s3cr3t and more"))
    assert "s3cr3t" not in str(raised.value)


def test_the_repr_shows_no_secret() -> None:
    """Settings can be logged: neither the key's secret nor a password in the URL shows."""
    settings = CacheSettings(
        redis_url="redis://:s3cr3t@example.com", key_secret=SecretStr("s3cr3t"), admin_token=SecretStr("s3cr3t")
    )
    assert "s3cr3t" not in repr(settings) + str(settings)


def test_settings_cannot_be_changed() -> None:
    """Settings are checked once, so they stay as they were."""
    settings = CacheSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.default_ttl_s = 0


def test_each_kind_has_its_time_to_live() -> None:
    """Embeddings and corpora, answers, health and counts have their own, and all others share the default."""
    settings = CacheSettings(default_ttl_s=1, embedding_ttl_s=2, openai_response_ttl_s=3)
    assert {kind: settings.ttl_s(kind) for kind in Kind} == {
        Kind.EMBEDDING: 2, Kind.OPENAI_RESPONSE: 3, Kind.JOB_MATCH: 1, Kind.OPTIMIZATION: 1, Kind.SESSION: 1,
        Kind.HEALTH: 10, Kind.TOOL_RESULT: 1, Kind.NODE_RESULT: 1, Kind.STATS: 86400, Kind.CORPUS: 2,
    }  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.HEALTH, Kind.STATS}])
def test_each_kind_can_be_switched_off_alone(kind: Kind) -> None:
    """The switch of a kind leaves the other kinds on."""
    values: dict[str, Any] = {f"{kind}_enabled": False}
    settings = CacheSettings(**values)
    assert {other for other in Kind if not settings.is_enabled(other)} == {kind}


def test_the_main_switch_is_for_all_kinds() -> None:
    """Switched off, nothing is looked up or stored, of any kind."""
    settings = CacheSettings(enabled=False)
    assert not any(settings.is_enabled(kind) for kind in Kind)


def test_the_deadline_is_in_seconds_and_grows_with_size() -> None:
    """100 ms for any operation and 20 ms more for each MiB."""
    assert CacheSettings(deadline_ms=250).deadline() == Deadline(base_s=0.25)
    assert Deadline().allowed_s(0) == pytest.approx(0.1)
    assert Deadline().allowed_s(3 * 2**20) == pytest.approx(0.16)


def test_the_secret_is_bytes_or_nothing() -> None:
    """The key of the HMAC is the secret as UTF-8."""
    assert CacheSettings().secret_bytes() is None
    assert CacheSettings(key_secret=SecretStr("Größe")).secret_bytes() == "Größe".encode()


@pytest.mark.parametrize("ttl_s", [1, 60, MAX_TTL_S])
def test_a_usable_time_to_live_is_returned(ttl_s: int) -> None:
    """From a second to ten years, whole seconds."""
    assert check_ttl(ttl_s) == ttl_s


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_TTL_S + 1, 1.5, 60.0, True, "60", None, float("inf")])
def test_an_unusable_time_to_live_is_refused(ttl_s: Any) -> None:
    """Nothing that a server would round, refuse or take for something else is let through."""
    with pytest.raises(InvalidTTLError, match="whole seconds"):
        check_ttl(ttl_s)


def test_a_variable_that_is_called_as_a_field_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """`NAMESPACE` is set in every pod of Kubernetes, and must not change a key."""
    for name, value in {"NAMESPACE": "prod", "ENABLED": "false", "DEADLINE_MS": "7"}.items():
        monkeypatch.setenv(name, value)
    assert CacheSettings() == CacheSettings(namespace=None, enabled=True, deadline_ms=100)
