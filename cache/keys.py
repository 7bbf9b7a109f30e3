"""Keys: the one place that knows separators, hashes and patterns.

```
[{namespace}:]emb:{model}:{content_hash}        [{namespace}:]opt:{content_hash}:{user}
[{namespace}:]openai:{model}:{content_hash}     [{namespace}:]session:{content_hash}
[{namespace}:]match:{content_hash}:{user}       [{namespace}:]health:{component}
[{namespace}:]tool:{tool}:{content_hash}        [{namespace}:]node:{node}:{content_hash}
[{namespace}:]stats:{component}
[{namespace}:]corpus:{corpus}:{content_hash}
```

Every variable segment is percent-encoded down to `[A-Za-z0-9._~-]`, so that no model, user or namespace can forge a
separator, a glob (`*`, `?`, `[`), a cluster hash tag (`{`) or a line break. A namespace never equals a prefix, so a key
reads in one way only: `parse_key(build_key(key)) == key`.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, Self, assert_never
from urllib.parse import quote, unquote

import numpy as np

from cache.errors import InvalidKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable

ANONYMOUS = "anonymous"
MAX_SEGMENT_CHARS = 512
_CONTENT_HASH = re.compile(r"[0-9a-f]{32}")
_TAG_BYTES = 8
HASH_BYTES = 16
_NO_HASH = "0" * 2 * HASH_BYTES
_N_RESTS_KEPT = 1024

Field = str | bytes | int | None


class Kind(StrEnum):
    """The kinds of entry, by their long names."""

    EMBEDDING = "embedding"
    OPENAI_RESPONSE = "openai_response"
    JOB_MATCH = "job_match"
    OPTIMIZATION = "optimization"
    SESSION = "session"
    HEALTH = "health"
    TOOL_RESULT = "tool_result"
    NODE_RESULT = "node_result"
    STATS = "stats"
    CORPUS = "corpus"


_FORMATS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    Kind.EMBEDDING: ("emb", ("model", "content_hash")),
    Kind.OPENAI_RESPONSE: ("openai", ("model", "content_hash")),
    Kind.JOB_MATCH: ("match", ("content_hash", "user")),
    Kind.OPTIMIZATION: ("opt", ("content_hash", "user")),
    Kind.SESSION: ("session", ("content_hash",)),
    Kind.HEALTH: ("health", ("component",)),
    Kind.TOOL_RESULT: ("tool", ("tool", "content_hash")),
    Kind.NODE_RESULT: ("node", ("node", "content_hash")),
    Kind.STATS: ("stats", ("component",)),
    Kind.CORPUS: ("corpus", ("corpus", "content_hash")),
}
_KINDS = {prefix: kind for kind, (prefix, _) in _FORMATS.items()}
_ABSENT: dict[str, Any] = {
    "content_hash": "", "model": "", "user": None, "component": "", "tool": "", "node": "", "corpus": "",
}  # fmt: skip
CACHED_KINDS = tuple(kind for kind in Kind if kind is not Kind.STATS)
"""The kinds whose entries are what a cache is for."""
RESERVED_PREFIXES = frozenset(_KINDS) | {"lease"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key, taken apart.

    Attributes:
        kind: the kind of entry.
        content_hash: 32 lower-case hex digits over all that the value depends on; empty where the kind has none.
        model: the model's name, for embeddings and responses.
        user: whose entry it is, for matches and optimisations; `None` is the shared, anonymous one.
        component: what a health report is about, or the slot that counts stand in.
        tool: the tool's name, for results of tools.
        node: the node of a graph (`node_segment`), for results of nodes.
        corpus: the corpus' name, for blocks of its rows.
        namespace: the tenant; `None` is the one without a name.
    """

    kind: Kind
    content_hash: str = ""
    model: str = ""
    user: str | None = None
    component: str = ""
    tool: str = ""
    node: str = ""
    corpus: str = ""
    namespace: str | None = None


def build_key(key: Key) -> str:
    """Write a key in its documented form.

    Raises:
        InvalidKeyError: a segment is empty, too long, or not what the kind has.
    """
    prefix, names = _FORMATS[key.kind]
    stray = [name for name, absent in _ABSENT.items() if name not in names and getattr(key, name) != absent]
    if stray:  # left out, it would let two keys meet that are not equal
        raise InvalidKeyError(f"expected no {stray[0]} in a key of kind {key.kind}, got one")
    return ":".join((*_namespace_part(key.namespace), prefix, *(_segment(key, name) for name in names)))


@lru_cache(maxsize=_N_RESTS_KEPT)
def before_hash(kind: Kind, model: str, namespace: str | None) -> str:
    """What stands before the content hash in the keys of a model: a key of its kind, with the hash left out.

    Raises:
        InvalidKeyError: the model cannot stand in a key.
    """
    return build_key(Key(kind, model=model, namespace=namespace, content_hash=_NO_HASH)).removesuffix(_NO_HASH)


def parse_key(text: str) -> Key:
    """Read a key back into its parts.

    Raises:
        InvalidKeyError: the text is not a key of ours.
    """
    parts = text.split(":")
    namespace = None if parts[0] in _KINDS else _decode(parts.pop(0))
    kind = _KINDS.get(parts[0]) if parts else None
    if kind is None or len(parts) != len(_FORMATS[kind][1]) + 1:
        raise InvalidKeyError(f"expected a key such as emb:model:hash, got {text!r}")
    values = {name: _read_segment(name, part) for name, part in zip(_FORMATS[kind][1], parts[1:], strict=True)}
    key = Key(kind=kind, namespace=namespace, **values)  # type: ignore[arg-type]  # names come from _FORMATS
    if build_key(key) != text:  # one spelling only: %6D for m, or a hash in capitals, is not ours
        raise InvalidKeyError(f"expected a key in its canonical spelling, got {text!r}")
    return key


def is_key(text: str) -> bool:
    """Say whether a text parses as one of our keys."""
    try:
        parse_key(text)
    except InvalidKeyError:
        return False
    return True


def key_prefix(kind: Kind | None, namespace: str | None) -> str:
    """The beginning that all keys of a kind in a namespace share; of all kinds when `kind` is `None`."""
    parts = (*_namespace_part(namespace), *((_FORMATS[kind][0],) if kind else ()))
    return "".join(f"{part}:" for part in parts)


def named_prefix(kind: Kind, name: str, namespace: str | None) -> str:
    """The beginning that all keys of one model, tool, node or corpus in a namespace share.

    Raises:
        InvalidKeyError: the name cannot stand in a key.
    """
    return f"{key_prefix(kind, namespace)}{_encode(_FORMATS[kind][1][0], name)}:"


def node_segment(path: Iterable[str]) -> str:
    """A graph's own namespace, such as `("writes", "agent.rank", "rank")`, as one text: `writes~agent.rank~rank`.

    Two paths give one text only if they are equal: what stands between the parts is escaped within them, an empty part
    is a lone `%`, and a path without parts a lone `~`.
    """
    parts = (quote(part, safe="", errors="surrogatepass").replace("~", "%7E") or "%" for part in path)
    return "~".join(parts) or "~"


def glob_of_prefix(prefix: str) -> str:
    """A Redis glob that matches exactly the keys beginning with `prefix`, whatever characters it holds."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*"


def check_namespace(namespace: str | None) -> str | None:
    """Return a usable namespace; an empty one is none.

    Raises:
        InvalidKeyError: it equals a prefix, which would make keys ambiguous, or it is too long.
    """
    if not namespace:
        return None
    _namespace_part(namespace)
    return namespace


def _namespace_part(namespace: str | None) -> tuple[str, ...]:
    if namespace is None:
        return ()
    if namespace in RESERVED_PREFIXES:
        allowed = ", ".join(sorted(RESERVED_PREFIXES))
        raise InvalidKeyError(f"expected a namespace that is none of {allowed}, got {namespace!r}")
    return (_encode("namespace", namespace),)


def _segment(key: Key, name: str) -> str:
    if name == "user":
        return _encode_user(key.user)
    value: str = getattr(key, name)
    if name == "content_hash" and not _CONTENT_HASH.fullmatch(value):
        raise InvalidKeyError(f"expected a content hash of 32 lower-case hex digits, got {value!r}")
    return _encode(name, value)


def _read_segment(name: str, part: str) -> str | None:
    return None if name == "user" and part == ANONYMOUS else _decode(part)


def _encode_user(user: str | None) -> str:
    if user is None:
        return ANONYMOUS
    # A user who is called "anonymous" is somebody: the first letter is encoded, so that the two never meet.
    return f"%{ord(ANONYMOUS[0]):02X}{ANONYMOUS[1:]}" if user == ANONYMOUS else _encode("user", user)


def _encode(name: str, value: str) -> str:
    encoded = quote(value, safe="", errors="surrogatepass")
    if not 0 < len(encoded) <= MAX_SEGMENT_CHARS:
        raise InvalidKeyError(
            f"expected a {name} of 1 to {MAX_SEGMENT_CHARS} characters once percent-encoded, got {len(encoded)}"
        )
    return encoded


def _decode(part: str) -> str:
    try:
        return unquote(part, errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise InvalidKeyError(f"expected percent-encoded UTF-8 in a key, got {part!r}") from error


class _Hash(Protocol):
    def copy(self) -> Self: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class ContentHasher:
    """Hashes what a value depends on: fixed fields once, then one text after the other.

    SHA-256 over length-prefixed fields, HMAC-SHA-256 with a secret, so that ("a", "bc") and ("ab", "c") differ and
    nobody without the secret can test a guess. SHA-256 is truncated to 128 bits: NIST SP 800-107, section 5.1.

    Args:
        fields: what all texts of this hasher share; order counts.
        secret: the key of the HMAC; `None` gives plain SHA-256.
    """

    def __init__(self, fields: Iterable[Field], *, secret: bytes | None = None) -> None:
        self._base: _Hash = hmac.new(secret, digestmod=hashlib.sha256) if secret else hashlib.sha256()
        for field in fields:
            _feed(self._base, field)

    def with_fields(self, *fields: Field) -> ContentHasher:
        """A hasher whose texts share these fields too."""
        made = copy.copy(self)
        made._base = self._base.copy()  # noqa: SLF001  of the same class
        for field in fields:
            _feed(made._base, field)  # noqa: SLF001  as above
        return made

    def digest(self, *fields: Field) -> bytes:
        """The 16 bytes of the content hash of the shared fields and these."""
        state = self._base.copy()
        for field in fields:
            _feed(state, field)
        return state.digest()[:HASH_BYTES]

    def digests(self, texts: Iterable[str]) -> bytes:
        """The content hashes of the shared fields and each of many texts, as `digest(text)` gives them, joined."""
        digests = []
        copy_base = self._base.copy
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            state = copy_base()
            state.update(b"s%d:%b" % (len(data), data))  # as `_feed` does: a call for each would cost as much again
            digests.append(state.digest())
        if len(digests) == 1:
            return digests[0][:HASH_BYTES]
        whole = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, hashlib.sha256().digest_size)
        return whole[:, :HASH_BYTES].tobytes()


def content_hash(*fields: Field, secret: bytes | None = None) -> str:
    """The 32 hex digits over the given fields, in order."""
    return ContentHasher((), secret=secret).digest(*fields).hex()


def hashed_user(user: str | None, secret: bytes | None) -> str | None:
    """The user as it stands in keys: as given, or with a secret as an HMAC that nobody can test a guess against."""
    return user if user is None or secret is None else content_hash("user", user, secret=secret)


def _feed(state: _Hash, field: Field) -> None:
    match field:
        case None:
            state.update(b"n")
        case bytes():
            state.update(b"b%d:" % len(field) + field)
        case int():
            data = str(field).encode()
            state.update(b"i%d:" % len(data) + data)
        case str():
            data = field.encode("utf-8", "surrogatepass")
            state.update(b"s%d:" % len(data) + data)
        case _:  # what is passed over would not tell two values apart
            assert_never(field)


def lease_key(key: str) -> str:
    """Where it stands who computes the value of a key: in the same slot of a cluster, and no key of an entry."""
    return f"lease:{{{key}}}"


def key_tag(key: str) -> bytes:
    """The 8 bytes in an entry's header that bind it to its key.

    The first 8 bytes of the content hash, crossed (XOR) with a hash of the rest of the key: a batch of one model
    needs one hash for all its keys. An entry read under another key does not carry its tag.
    """
    parts = key.split(":")
    at = 0 if parts[0] in _KINDS else 1
    names = _FORMATS[_KINDS[parts[at]]][1]
    if "content_hash" not in names:
        return rest_tag(key)
    at += 1 + names.index("content_hash")
    content, parts[at] = bytes.fromhex(parts[at]), ""
    return cross(rest_tag(":".join(parts)), content)


@lru_cache(maxsize=_N_RESTS_KEPT)  # a cache has few: one for each model or user
def rest_tag(rest: str) -> bytes:
    """The part of a key's tag that does not come from its content hash; `rest` is the key with that left out."""
    return hashlib.sha256(rest.encode()).digest()[:_TAG_BYTES]


def cross(left: bytes, right: bytes) -> bytes:
    """XOR of the first 8 bytes of both."""
    size = _TAG_BYTES
    return (int.from_bytes(left[:size]) ^ int.from_bytes(right[:size])).to_bytes(size)


def cross_all(left: bytes, hashes: bytes) -> bytes:
    """XOR of the first 8 bytes with those of each of many joined content hashes, joined."""
    if len(hashes) == HASH_BYTES:
        return cross(left, hashes)
    starts = np.frombuffer(hashes, dtype=np.uint64)[:: HASH_BYTES // _TAG_BYTES]
    return (starts ^ np.frombuffer(left[:_TAG_BYTES], dtype=np.uint64)).tobytes()
