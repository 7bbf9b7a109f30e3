"""Attacks on the cache by whoever can read and write its store, and by who shares it: tried by the thousand, counted.

Run `python -m tests.security.attacks` in the root of the repository: it starts a server of its own, takes some
seconds and prints a table of what was tried and what got through.
"""

from __future__ import annotations

import gzip
import itertools
import logging
import pickle
import random
import re
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cache.codecs.payloads import MAX_PAYLOAD_BYTES
from cache.deadline import Deadline
from cache.entry import ElementType, Flag, Header, pack_entry
from cache.errors import InvalidKeyError
from cache.keys import Key, Kind, build_key, content_hash, key_prefix, key_tag, parse_key
from cache.sealing import Keyring, SealingKey
from cache.sessions import new_session_id
from cache.stores import store_from_url
from tests.security.victims import ANSWER, JOB, MARKERS, RESUME, SESSION_ID, USER, Stored, Victim
from tests.servers import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cache.stores.base import Store

NASTY = [
    ":", "*", "?", "[", "]", "{", "}", "\\", "^", "%", "%3A", "%2A", "/", "\r\n", "\n", "\x00", " ", "~", "-", ".",
    "acme", "emb", "match", "anonymous", "lease", "é", "e\u0301", "\u202e", "\ufeff",
    "\uff1a", "\u24d0", "\ud800", "\udfff", "\U0001f511",
    "A", "a", "%25", "%61", "+", "#", "\u2028", "0", "\u0131", "İ", "ß",
]  # fmt: skip
SAFE_KEY = re.compile(r"[A-Za-z0-9._~%-]+(:[A-Za-z0-9._~%-]+){1,3}")
TIMES_AT = 8
TTL_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to attack.

    Attributes:
        name: as it stands in the table.
        tries: endless; each says whether it got through.
        n_tries: how many the table counts.
    """

    name: str
    tries: Callable[[Store, random.Random], Iterator[bool]]
    n_tries: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack."""

    name: str
    n_tried: int
    n_got_through: int


class RanError(Exception):
    """Code of the attacker ran."""


def run_attack(attack: Attack, store: Store, n_tries: int, *, seed: int = 1) -> Outcome:
    """Try an attack so many times on an emptied store."""
    store.mdelete(list(store.yield_keys()))
    tries = itertools.islice(attack.tries(store, random.Random(seed)), n_tries)
    return Outcome(attack.name, n_tries, sum(tries))


def changed_by(
    change: Callable[[bytes, Stored, random.Random], bytes], *, is_sealed: bool = True, advance_s: int = 0
) -> Callable[[Store, random.Random], Iterator[bool]]:
    """Each try puts something in the place of one of the victim's entries, who then reads it."""

    def tries(store: Store, rng: random.Random) -> Iterator[bool]:
        victim = Victim(store, is_sealed=is_sealed)
        entries = victim.write()
        values = dict(zip(entries, store.mget([entry.key for entry in entries]), strict=True))
        victim.clock.advance(advance_s)
        while True:
            entry = rng.choice(entries)
            value = values[entry]
            assert value is not None
            store.mset([(entry.key, change(value, entry, rng))])
            yield _is_read(entry)

    return tries


def _is_read(entry: Stored) -> bool:
    try:
        return entry.read() is not None
    except RanError:
        return True


def flip(value: bytes, _: Stored, rng: random.Random) -> bytes:
    """Change one bit."""
    at = rng.randrange(8 * len(value))
    return value[: at // 8] + bytes((value[at // 8] ^ 1 << at % 8,)) + value[at // 8 + 1 :]


def cut(value: bytes, _: Stored, rng: random.Random) -> bytes:
    """Leave out a part, or add one."""
    at = rng.randrange(len(value))
    kept = value[at + rng.randrange(1, len(value) - at + 1) :]
    return rng.choice([value[:at], value[:at] + kept, value + rng.randbytes(1 + rng.randrange(64))])


def forge(value: bytes, entry: Stored, rng: random.Random) -> bytes:
    """Seal something with a key of one's own under the victim's id, or make up what follows the header."""
    plain = plant(value, entry, rng)
    guessed = SealingKey(value[28:32], rng.randbytes(32))
    [(_, sealed)] = Keyring([guessed]).seal([(entry.key, plain)])
    made_up = value[: rng.choice([60, 76, 88])]
    return rng.choice([sealed, made_up + rng.randbytes(len(value) - len(made_up)), value[:60] + sealed[60:]])


def extend(value: bytes, _: Stored, rng: random.Random) -> bytes:
    """Say that the entry was made later, or lives longer."""
    created_s, ttl_s = struct.unpack_from("<II", value, TIMES_AT)
    times = rng.choice(
        [(created_s + rng.randrange(TTL_S, 2 * TTL_S), ttl_s), (created_s, 2**32 - 1 - rng.randrange(1000))]
    )
    return value[:TIMES_AT] + struct.pack("<II", *times) + value[TIMES_AT + 8 :]


def put_back(value: bytes, _: Stored, _rng: random.Random) -> bytes:
    """Write the old value again, without an expiry."""
    return value


def plant(_: bytes, entry: Stored, rng: random.Random) -> bytes:
    """Write a whole entry with a checksum that is right, as the cache itself does without keys."""
    if entry.kind is Kind.EMBEDDING:
        floats = struct.pack("<384f", *(rng.random() for _ in range(384)))
        return _entry(entry, floats, element_type=ElementType.FLOAT32, inverse_norm=1.0)
    texts = {
        Kind.OPENAI_RESPONSE: b'{"v":1,"generations":[{"text":"hire him","info":null}]}',
        Kind.NODE_RESULT: b"\x81\xa5value\xa4fake",
    }
    return _entry(entry, texts.get(entry.kind, b'{"score":%d}' % rng.randrange(10**9)))


def _entry(entry: Stored, payload: bytes, **fields: Any) -> bytes:
    header = Header(key_tag(entry.key), created_s=1_800_000_000, ttl_s=TTL_S, **fields)
    return pack_entry(header, payload)


class Exploit:
    """What runs code of the attacker when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return run_it, ()


def run_it() -> NoReturn:
    """Say that code of the attacker ran."""
    raise RanError


def send_pickle(_: bytes, entry: Stored, rng: random.Random) -> bytes:
    """Write a pickle that runs code: bare, in an entry, compressed, or as an extension type of msgpack."""
    pickled = pickle.dumps(Exploit(), protocol=rng.randrange(6))
    extension = b"\x81\xa5value\xc7" + bytes((min(len(pickled), 255), rng.randrange(128))) + pickled
    whole = _entry(entry, rng.choice([pickled, gzip.compress(pickled), extension]))
    return rng.choice([pickled, gzip.compress(pickled), whole, _entry(entry, gzip.compress(pickled), flags=Flag.GZIP)])


def send_bomb(_: bytes, entry: Stored, rng: random.Random) -> bytes:
    """Write an entry that is small and would be more than 64 MiB once decompressed."""
    return _entry(entry, rng.choice(_bombs()), flags=Flag.GZIP)


def _bombs() -> Sequence[bytes]:
    if not _made_bombs:
        zeros = bytes(MAX_PAYLOAD_BYTES + 1)
        one = gzip.compress(zeros, compresslevel=1)
        _made_bombs.extend((one, one * 20, gzip.compress(b'"' + zeros.replace(b"\0", b" ") + b'"', compresslevel=1)))
    return _made_bombs


def move(store: Store, rng: random.Random) -> Iterator[bool]:
    """Put values under other keys: of another kind, text, user or tenant, with the tag of the new key or without."""
    entries = [
        *Victim(store).write(),
        *Victim(store, namespace="other").write(),
    ]
    values = store.mget([entry.key for entry in entries])
    while True:
        (target, _), (source, value) = rng.sample(list(zip(entries, values, strict=True)), 2)
        assert value is not None
        moved = rng.choice([value, value[:32] + key_tag(target.key) + value[40:]])
        store.mset([(target.key, moved)])
        yield source.key != target.key and _is_read(target)


def read_as_other_tenant(store: Store, rng: random.Random) -> Iterator[bool]:
    """Read, count and clear as a tenant whose name is made up to reach another one's entries."""
    entries = Victim(store).write()
    keys = {entry.key for entry in entries}
    while True:
        name = rng.choice(["acme", ""]) + hostile_text(rng)
        if name == "acme":
            continue
        try:
            other = Victim(store, namespace=name)
        except ValueError:  # a name that no tenant may have
            yield False
            continue
        seen = [read() for _, read in other.entries(RESUME, USER, SESSION_ID)]
        n_counted = sum(other.service.get_cache_stats()["key_counts"].values())
        other.service.clear_cache_by_prefix(rng.choice(list(Kind)))
        other.service.delete_session(SESSION_ID)
        other.nodes.clear(rng.choice([None, [(hostile_text(rng),), ("acme:node",), ("*",)]]))
        yield any(each is not None for each in seen) or n_counted > 0 or not keys <= set(store.yield_keys())


def read_as_other_user(store: Store, rng: random.Random) -> Iterator[bool]:
    """Read a match and an optimisation as somebody whose name is made up to be another one's."""
    victim = Victim(store)
    victim.write()
    while True:
        name = rng.choice([USER, USER.upper(), content_hash("user", USER), "anonymous", ""]) + hostile_text(rng)
        user = rng.choice([name, None])
        try:
            seen = [read() for _, read in victim.entries(RESUME, user, SESSION_ID)[2:4]]
        except InvalidKeyError:
            seen = []
        yield user != USER and any(each is not None for each in seen)


def inject_into_keys(_: Store, rng: random.Random) -> Iterator[bool]:
    """Name models, users, tools and tenants so that a key is read as another one, or matches another one's pattern."""
    seen: dict[str, Key] = {}
    digest = content_hash("text")
    while True:
        text, tenant = hostile_text(rng), rng.choice([None, hostile_text(rng)])
        key = rng.choice([
            Key(Kind.EMBEDDING, digest, model=text, namespace=tenant),
            Key(Kind.OPENAI_RESPONSE, digest, model=text, namespace=tenant),
            Key(Kind.JOB_MATCH, digest, user=text, namespace=tenant),
            Key(Kind.OPTIMIZATION, digest, user=text, namespace=tenant),
            Key(Kind.HEALTH, component=text, namespace=tenant),
            Key(Kind.TOOL_RESULT, digest, tool=text, namespace=tenant),
            Key(Kind.NODE_RESULT, digest, node=text, namespace=tenant),
        ])  # fmt: skip
        try:
            built = build_key(key)
        except InvalidKeyError:
            yield False
            continue
        is_other = seen.setdefault(built, key) != key
        of_others = tenant != "acme" and built.startswith(key_prefix(None, "acme"))
        yield is_other or of_others or parse_key(built) != key or not SAFE_KEY.fullmatch(built)


def hostile_text(rng: random.Random) -> str:
    """A short text of what breaks formats."""
    return "".join(rng.choices(NASTY, k=1 + rng.randrange(6)))


def guess_session(store: Store, rng: random.Random) -> Iterator[bool]:
    """Find a session by ids that are made anew, and by what its key shows."""
    victim = Victim(store)
    entries = victim.write()
    [key] = [entry.key for entry in entries if entry.kind is Kind.SESSION]
    shown = [key, *key.split(":")]
    while True:
        guess = rng.choice([new_session_id(), *shown, rng.choice(shown).upper(), SESSION_ID + hostile_text(rng)])
        yield guess != SESSION_ID and victim.service.get_session(guess) is not None


def try_guesses(store: Store, rng: random.Random, *, is_sealed: bool = True) -> Iterator[bool]:
    """Find out whether a text, user or session is in the cache, without the secret, by all that the store holds."""
    Victim(store, is_sealed=is_sealed).write()
    dump = b"\n".join(_dump(store))
    known = [RESUME, JOB, USER, ANSWER, SESSION_ID]
    shared: list[tuple[str, ...]] = [(), (Kind.JOB_MATCH,), (Kind.OPTIMIZATION,), (Kind.SESSION,), ("user",)]
    while True:
        fields = rng.choice(shared) + tuple(rng.sample(known, 1 + rng.randrange(3)))
        yield content_hash(*fields).encode() in dump


def find_markers(store: Store, rng: random.Random, *, is_sealed: bool = True) -> Iterator[bool]:
    """Look for personal words in all keys and values of the store, as they are and in other encodings."""
    for number in range(20):
        victim = Victim(store, is_sealed=is_sealed)
        for write, _ in victim.entries(f"{RESUME} {number}", USER, f"{SESSION_ID}{number}"):
            write()
    dump = list(_dump(store))
    while True:
        marker, place = rng.choice(MARKERS), rng.choice(dump)
        forms = [marker, marker.decode().encode("utf-16-le"), marker.hex().encode(), zlib.compress(marker)[2:-4]]
        yield any(form in place for form in forms)


def _dump(store: Store) -> Iterator[bytes]:
    keys = list(store.yield_keys())
    for key, value in zip(keys, store.mget(keys), strict=True):
        yield key.encode() + b"\n" + (value or b"")


_made_bombs: list[bytes] = []
ATTACKS = [
    Attack("a bit flipped", changed_by(flip), 2000),
    Attack("cut, or lengthened", changed_by(cut), 2000),
    Attack("forged: sealed with another key, or made up", changed_by(forge), 2000),
    Attack("moved to another key, kind, user or tenant", move, 2000),
    Attack("plain entry planted under sealing", changed_by(plant), 2000),
    Attack("times extended", changed_by(extend, advance_s=TTL_S), 2000),
    Attack("times extended while it lives", changed_by(extend), 1000),
    Attack("replayed after its time to live", changed_by(put_back, advance_s=TTL_S), 2000),
    Attack("pickle that runs code, sealing on", changed_by(send_pickle), 1000),
    Attack("pickle that runs code, sealing off", changed_by(send_pickle, is_sealed=False), 1000),
    Attack("gzip bomb, sealing on", changed_by(send_bomb), 100),
    Attack("gzip bomb, sealing off", changed_by(send_bomb, is_sealed=False), 20),
    Attack("read, counted or cleared by another tenant", read_as_other_tenant, 500),
    Attack("read by another user", read_as_other_user, 2000),
    Attack("key injected by a name", inject_into_keys, 10_000),
    Attack("session guessed", guess_session, 2000),
    Attack("guess at a text, user or session tested", try_guesses, 2000),
    Attack("personal word found in a key or value", find_markers, 5000),
]


def table(outcomes: Sequence[Outcome]) -> str:
    """What was tried and what got through, as a table in Markdown."""
    rows = [f"| {each.name} | {each.n_tried:,} | {each.n_got_through:,} |" for each in outcomes]
    total = f"| all | {sum(o.n_tried for o in outcomes):,} | {sum(o.n_got_through for o in outcomes):,} |"
    return "\n".join(["| attack | tried | got through |", "|---|---:|---:|", *rows, total])


def main() -> int:
    """Try all attacks on a server and print the table; 1 when any got through."""
    logging.getLogger("resumecache").setLevel(logging.ERROR)  # each try that fails is a warning
    with ValkeyServer() as server, store_from_url(server.unix_url, deadline=Deadline(5.0)) as store:
        outcomes = [run_attack(attack, store, attack.n_tries) for attack in ATTACKS]
    print(table(outcomes))  # noqa: T201  what the command is for
    return int(any(outcome.n_got_through for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
