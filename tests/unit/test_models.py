from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from agent.settings import Settings
from cache import CacheSettings, ConfigurationError
from chains.errors import ModelError
from chains.local_embeddings import LocalEmbeddings
from chains.models import DEFAULT_TIMEOUT_S, NO_KEY, RemoteModels, build_chat_model, build_embeddings

KEY = "sk-kept-to-ourselves"
REMOTE = RemoteModels(
    api_key=SecretStr(KEY), base_url="http://127.0.0.1:9/v1", embedding_model="e", chat_model="c", timeout_s=7.0
)


def key_of(secret: Any) -> str:
    assert isinstance(secret, SecretStr)
    return secret.get_secret_value()


# --- chains.models -------------------------------------------------------------------------------------------------


def test_without_an_endpoint_embeddings_are_local() -> None:
    """With no endpoint there is the local model, under its own name and in small batches, and no chat model."""
    model, name, batch_size = build_embeddings(None)
    assert isinstance(model, LocalEmbeddings)
    assert name == model.model
    assert 1 <= batch_size <= 64
    assert build_chat_model(None) is None


def test_without_endpoint_and_local_model_the_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the local model's library is missing too, the error says what to set and what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what Python itself does to say that there is no such module
    with pytest.raises(ModelError, match=r"OPENAI_API_KEY.*OPENAI_BASE_URL.*resumecache\[local\]"):
        build_embeddings(None)


def test_embeddings_of_an_endpoint_are_its_clients() -> None:
    """With an endpoint the embeddings go there, under the model's name there, and never fetch a tokenizer."""
    model, name, batch_size = build_embeddings(REMOTE)
    assert isinstance(model, OpenAIEmbeddings)
    assert (model.model, model.openai_api_base, model.request_timeout) == ("e", REMOTE.base_url, 7.0)
    assert key_of(model.openai_api_key) == KEY
    assert (name, batch_size) == ("e", 256)
    assert model.check_embedding_ctx_length is False


def test_a_chat_model_of_an_endpoint_is_its_client() -> None:
    """With an endpoint the chat model goes there, says the likeliest thing, and gives up in bounded time."""
    model = build_chat_model(REMOTE)
    assert isinstance(model, ChatOpenAI)
    assert (model.model_name, model.openai_api_base, model.request_timeout) == ("c", REMOTE.base_url, 7.0)
    assert model.temperature == 0
    assert key_of(model.openai_api_key) == KEY


def test_a_server_without_keys_needs_none() -> None:
    """Where no key is given, the client gets one that says so."""
    remote = RemoteModels(api_key=None, base_url="http://127.0.0.1:9/v1", embedding_model="e", chat_model="c")
    embeddings, chat_model = build_embeddings(remote)[0], build_chat_model(remote)
    assert isinstance(embeddings, OpenAIEmbeddings)
    assert isinstance(chat_model, ChatOpenAI)
    assert key_of(embeddings.openai_api_key) == key_of(chat_model.openai_api_key) == NO_KEY


def test_the_key_is_not_shown() -> None:
    """Neither the endpoint nor a model on it shows the key when printed."""
    assert KEY not in repr((REMOTE, build_embeddings(REMOTE), build_chat_model(REMOTE)))


def test_the_models_libraries_are_loaded_when_needed() -> None:
    """Importing the module loads neither a provider's client nor the local model's libraries."""
    heavy = ["langchain_openai", "openai", "onnxruntime", "tokenizers"]
    code = f"import sys, chains.models; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# --- agent.settings ------------------------------------------------------------------------------------------------


def test_nothing_configured_is_the_local_model() -> None:
    """With an empty environment no endpoint is configured."""
    assert Settings().remote_models() is None


def test_a_key_alone_is_the_providers_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but a key, models are at the provider's own address and have their default names."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert Settings().remote_models() == RemoteModels(
        api_key=SecretStr(KEY),
        base_url=None,
        embedding_model="text-embedding-3-small",
        chat_model="gpt-4o-mini",
        timeout_s=DEFAULT_TIMEOUT_S,
    )


def test_a_base_url_alone_is_a_server_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a base URL models are there, whether or not there is a key, and under the names that are set."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    monkeypatch.setenv("RESUMECACHE_EMBEDDING_MODEL", "bge:large")
    monkeypatch.setenv("RESUMECACHE_CHAT_MODEL", "llama3:8b")
    monkeypatch.setenv("RESUMECACHE_MODEL_TIMEOUT", "2.5")
    assert Settings().remote_models() == RemoteModels(
        api_key=None,
        base_url="http://127.0.0.1:11434/v1",
        embedding_model="bge:large",
        chat_model="llama3:8b",
        timeout_s=2.5,
    )


def test_empty_variables_are_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty key and an empty base URL, as in a copied template, are none."""
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert Settings().remote_models() is None


@pytest.mark.parametrize("name", ["CACHE", "CHAT_MODEL", "EMBEDDING_MODEL", "MODEL_TIMEOUT_S"])
def test_other_programs_variables_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that only happens to be called as a field is not read."""
    unset = Settings()
    monkeypatch.setenv(name, "17")
    assert Settings() == unset


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RESUMECACHE_CHAT_MODEL", ""),
        ("RESUMECACHE_EMBEDDING_MODEL", ""),
        ("RESUMECACHE_MODEL_TIMEOUT", "0"),
        ("RESUMECACHE_MODEL_TIMEOUT", "inf"),
        ("RESUMECACHE_MODEL_TIMEOUT", "soon"),
        ("CACHE_DEADLINE_MS", "soon"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be used is a ConfigurationError that names the variable, also of the cache's settings."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        Settings()


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given in code wins over what the environment says."""
    monkeypatch.setenv("RESUMECACHE_CHAT_MODEL", "of-the-environment")
    monkeypatch.setenv("CACHE_NAMESPACE", "of_the_environment")
    settings = Settings(chat_model="given", cache=CacheSettings(namespace="given"))
    assert (settings.chat_model, settings.cache.namespace) == ("given", "given")


def test_settings_do_not_show_the_key() -> None:
    """Printed settings hold no key."""
    settings = Settings(openai_api_key=SecretStr(KEY))
    assert KEY not in repr(settings)
    assert KEY not in str(settings.remote_models())
