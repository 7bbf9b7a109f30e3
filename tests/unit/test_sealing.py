"""Sealed values: which open, which do not, and what each says of itself."""

from __future__ import annotations

import base64
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC

from cache import sealing
from cache.codecs.payloads import decode_payload, encode_payload
from cache.counters import Counters
from cache.entry import ElementType, Header, SubjectTags, pack_entry, unpack_entry
from cache.errors import ConfigurationError, DecodeError, EntryVersionError, PartialFailureError, StoreConnectionError
from cache.keys import Kind, content_hash, key_tag
from cache.leases import SafeLeases
from cache.opening import open_store, store_for
from cache.sealed_store import SealedLeasingStore, SealedStore, seal_store
from cache.sealing import OVERHEAD_BYTES, Keyring, SealingKey
from cache.settings import CacheSettings
from cache.stores import warn_once
from cache.stores.memory import MemoryStore
from cache.wrappers import FailOpenStore
from tests.fakes import BrokenStore

KEY = f"acme:openai:gpt-4o:{content_hash('one')}"
OTHER_KEY = f"acme:openai:gpt-4o:{content_hash('two')}"
TAG = key_tag(KEY)
OLD, NEW, FOREIGN = (SealingKey(bytes((number,)) * 4, bytes((number,)) * 32) for number in (1, 2, 3))
RING = Keyring([NEW, OLD])
HEADER = Header(
    TAG, created_s=1_800_000_000, ttl_s=3600, made_ms=250, tokens=42, tags=SubjectTags(b"candidat", b"thejobad")
)
ENTRY = encode_payload(b"an answer that nobody else may read", HEADER, compress_over_bytes=1024)


def sealed(entry: bytes = ENTRY, ring: Keyring = RING, key: str = KEY) -> bytes:
    [(_, value)] = ring.seal([(key, entry)])
    return value


def opened(value: bytes, ring: Keyring = RING, key: str = KEY) -> bytes:
    [found] = ring.open([key], [value])
    assert found is not None
    return found


def in_base64(key: SealingKey) -> str:
    return base64.b64encode(key.key).decode()


def test_what_is_sealed_opens_as_it_was() -> None:
    """An entry comes back byte by byte, from a buffer too, and what is absent stays absent."""
    pairs = RING.seal([(KEY, ENTRY), (OTHER_KEY, memoryview(ENTRY))])
    assert RING.open([KEY, "absent", OTHER_KEY], [pairs[0][1], None, pairs[1][1]]) == [ENTRY, None, ENTRY]
    assert RING.seal([]) == []
    assert RING.open([], []) == []


def test_the_layout_of_a_sealed_entry_is_pinned() -> None:
    """The header of an entry, salt, nonce and what AES-256-GCM makes of the entry, worked out without our code."""
    value = sealed()
    head = bytes.fromhex(
        "52434531"  # RCE1
        "01020000"  # version 1, sealed, bytes, unused
        "00d2496b"  # 1,800,000,000 s
        "100e0000"  # 3600 s
        "00000000 00000000 00000000"  # of time, tokens and norm nothing is shown
        "02020202"  # id of the key
    )
    head += TAG + b"candidatthejobad" + (len(value) - 64).to_bytes(4, "little")
    assert value[:60] == head
    derive = HMAC(NEW.key, hashes.SHA256())
    derive.update(b"resumecache seal 1" + value[60:76])
    assert AESGCM(derive.finalize()).decrypt(value[76:88], value[88:], head + KEY.encode()) == ENTRY
    assert len(value) == len(ENTRY) + OVERHEAD_BYTES == len(ENTRY) + 104


def test_nothing_of_the_entry_is_readable() -> None:
    """No part of the payload, nor what could prove a guess at it, stands in a sealed value."""
    entry = pack_entry(HEADER._replace(element_type=ElementType.FLOAT32, inverse_norm=0.2), bytes(range(200)))
    value = sealed(entry)
    norm_and_checksum = [entry[24:28], entry[60:64]]
    parts = [entry[64:][start : start + 4] for start in range(0, 200, 4)]
    assert [part for part in (*norm_and_checksum, *parts) if part in value] == []


def test_equal_values_are_sealed_differently() -> None:
    """Who reads the store cannot tell that a value was written twice: each has a nonce of its own."""
    values = {value for _, value in RING.seal([(KEY, ENTRY)] * 100)}
    assert len({value[76:88] for value in values}) == 100
    assert len({value[88:] for value in values}) == 100


def test_a_header_of_which_a_bit_is_changed_does_not_open() -> None:
    """Whatever of a sealed entry's header is changed, time to live and tags too, it is not read."""
    for bit in range(8 * 60):
        value = bytearray(sealed())
        value[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, EntryVersionError)):
            unpack_entry(opened(bytes(value)), TAG)


def test_a_value_that_is_cut_or_longer_does_not_open() -> None:
    """Every beginning of a sealed value, and one with a byte more, is refused."""
    value = sealed()
    for size in range(len(value)):
        with pytest.raises(DecodeError):
            unpack_entry(opened(value[:size]), TAG)
    with pytest.raises(DecodeError, match="seal is broken"):
        unpack_entry(opened(value + b"\0"), TAG)


def test_a_value_does_not_open_under_another_key() -> None:
    """What is moved to another Redis key is refused, also where the header is made to fit it."""
    value = sealed()
    with pytest.raises(DecodeError, match="seal is broken"):
        unpack_entry(opened(value, key=OTHER_KEY), key_tag(OTHER_KEY))
    fitting = value[:32] + key_tag(OTHER_KEY) + value[40:]
    with pytest.raises(DecodeError, match="seal is broken"):
        unpack_entry(opened(fitting, key=OTHER_KEY), key_tag(OTHER_KEY))


def test_a_plain_entry_is_refused_where_values_are_sealed() -> None:
    """Whoever can write to the store could have written it."""
    with pytest.raises(DecodeError, match="expected a sealed entry, got a plain one"):
        unpack_entry(opened(ENTRY), TAG)


def test_a_sealed_entry_is_of_another_version_where_nothing_is_sealed() -> None:
    """Without keys a sealed entry is a miss, counted apart from damage."""
    with pytest.raises(EntryVersionError):
        decode_payload(sealed(), TAG)


def test_old_keys_open_and_the_newest_seals() -> None:
    """After a rotation what was sealed before is still read; what is written names the newest key."""
    assert opened(sealed(ring=Keyring([OLD])), RING) == ENTRY
    assert sealed()[28:32] == NEW.key_id
    with pytest.raises(EntryVersionError):
        unpack_entry(opened(sealed(), Keyring([OLD])), TAG)


def test_an_unknown_key_is_of_another_version() -> None:
    """A value that was sealed by a key that is not here is counted apart from damage."""
    with pytest.raises(EntryVersionError, match="key id"):
        unpack_entry(opened(sealed(ring=Keyring([FOREIGN]))), TAG)


def test_a_key_of_the_same_id_does_not_open() -> None:
    """A value that names our key's id and was sealed by another key is forged."""
    forged = sealed(ring=Keyring([SealingKey(NEW.key_id, os.urandom(32))]))
    with pytest.raises(DecodeError, match="seal is broken"):
        unpack_entry(opened(forged), TAG)


def test_many_threads_seal_and_open_with_one_keyring() -> None:
    """Sealing and opening at once in many threads mixes nothing up."""
    ring = Keyring([NEW])

    def turn(number: int) -> bool:
        entry = pack_entry(HEADER, str(number).encode() * 50)
        return opened(sealed(entry, ring), ring) == entry

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(turn, range(500)))


def test_a_process_derives_another_key_before_nonces_could_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many messages the salt is another one, and what was sealed with the first one opens as before."""
    monkeypatch.setattr(sealing, "_MESSAGES_OF_A_SALT", 6)
    ring = Keyring([NEW])
    values = [sealed(ring=ring) for _ in range(12)]
    assert 2 <= len({value[60:76] for value in values}) <= 6
    assert [opened(value, ring) for value in values] == [ENTRY] * 12


def test_a_fork_derives_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that takes over the memory of another one does not go on with its salt."""
    ring = Keyring([NEW])
    before = sealed(ring=ring)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert sealed(ring=ring)[60:76] != before[60:76]


def test_keys_are_read_in_both_alphabets_and_with_ids() -> None:
    """Base64 may be the standard or the URL one, padded or not; an id that is given is used, another one derived."""
    key = SealingKey(bytes.fromhex("07000000"), b"\xff\xfb" * 16)
    texts = [base64.b64encode(key.key).decode(), base64.urlsafe_b64encode(key.key).decode()]
    for text in (*texts, *(text.rstrip("=") for text in texts)):
        assert SealingKey.parse(f"7:{text}") == key
        assert SealingKey.parse(text).key == key.key
    derived = {SealingKey.parse(in_base64(each)).key_id for each in (OLD, NEW, FOREIGN)}
    assert len(derived) == 3


WRONG = ["c2hvcnQ=", "A" * 42, "A" * 45, "0:" + "A" * 43, "4294967296:" + "A" * 43, "id:" + "A" * 43, "A" * 43 + "!"]


@pytest.mark.parametrize("text", [*WRONG, f"{'A' * 43},{'A' * 43}=", f"1:{'A' * 43},1:{'B' * 43}"])
def test_a_wrong_key_is_explained_and_never_repeated(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The message names the variable and what is allowed, and nothing of what came."""
    monkeypatch.setenv("CACHE_ENCRYPTION_KEYS", text)
    with pytest.raises(ConfigurationError, match="CACHE_ENCRYPTION_KEYS: expected") as raised:
        CacheSettings()
    assert text not in str(raised.value)
    assert "AAAA" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_settings_and_keys_do_not_show_keys() -> None:
    """Neither settings nor keyrings nor keys print a key."""
    settings = CacheSettings(encryption_keys=(in_base64(NEW),))
    shown = f"{settings!r} {settings} {settings.keyring()!r} {NEW!r}"
    assert in_base64(NEW) not in shown
    assert repr(NEW.key) not in shown
    assert settings.keyring() == Keyring([SealingKey.parse(in_base64(NEW))])
    assert CacheSettings().keyring() is None


def test_every_cache_of_a_store_is_sealed_by_its_settings() -> None:
    """A bare store, one that fails open and a foreign one are sealed, once, and by the settings' own keys."""
    settings = CacheSettings(encryption_keys=(in_base64(NEW),), redis_url="redis://127.0.0.1:1")
    opened_store = open_store(settings)
    assert isinstance(opened_store.inner, SealedLeasingStore)
    view = store_for(Kind.SESSION, opened_store, settings, Counters())
    assert isinstance(view, FailOpenStore)
    assert view.inner is opened_store.inner
    assert SafeLeases.of(view) is not None
    for given in (MemoryStore(), FailOpenStore(MemoryStore())):
        view = store_for(Kind.SESSION, given, settings, Counters())
        assert isinstance(view, FailOpenStore)
        assert isinstance(view.inner, SealedStore)
    other = seal_store(opened_store.inner, Keyring([OLD]))
    assert isinstance(other, SealedStore)
    assert other.inner is opened_store.inner.inner


async def test_what_some_servers_gave_is_opened_too() -> None:
    """Where a part of the servers fails, the values that the others gave are opened all the same."""
    failure = StoreConnectionError("down")
    broken = BrokenStore(PartialFailureError.of([failure], values=[sealed(), None], n_done=1))
    with pytest.raises(PartialFailureError) as raised:
        SealedStore(broken, RING).mget([KEY, OTHER_KEY])
    assert raised.value.values == [ENTRY, None]
    broken.break_with(PartialFailureError.of([failure], values=[None, sealed(key=OTHER_KEY)], n_done=1))
    with pytest.raises(PartialFailureError) as raised:
        await SealedStore(broken, RING).amget([KEY, OTHER_KEY])
    assert raised.value.values == [None, ENTRY]


def test_keys_that_can_be_guessed_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Who seals values and leaves plain hashes in keys is told that a guess can still be tested, and how to stop it."""
    keys = (in_base64(FOREIGN),)
    store_for(Kind.SESSION, MemoryStore(), CacheSettings(encryption_keys=keys, key_secret="s" * 32), Counters())
    assert caplog.text == ""
    warn_once.cache_clear()
    store_for(Kind.SESSION, MemoryStore(), CacheSettings(encryption_keys=keys), Counters())
    open_store(CacheSettings(encryption_keys=keys, redis_url="memory://"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "CACHE_KEY_SECRET" in caplog.text
    assert keys[0] not in caplog.text
