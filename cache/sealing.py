"""Sealed values: what stands in the store can be read and made only with a key. Pure.

```
 0-59 header of the entry, readable: flag SEALED and id of the key set, what tells of the value itself zero
60-75 salt, of this process     76-87 nonce, random     88-  the whole entry, AES-256-GCM, and 16 bytes of its tag
```

The associated data are the header and the Redis key, so that a value opens neither under another key nor with other
times or tags. The header lacks what a guess at the value could be tested against: norm, checksum, time and tokens.

Random nonces of 96 bits allow 2^32 messages with one key (NIST SP 800-38D, section 8.3). No key that is configured is
used so: each process derives one of its own from a random salt of 128 bits (HMAC-SHA-256, NIST SP 800-108), and another
one after 2^31 messages.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from cache.entry import (
    KEY_ID_BYTES,
    SEAL_IS_BROKEN,
    SEAL_IS_MISSING,
    readable_head,
    sealing_key_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEY_BYTES = 32
_SALT_AT, _NONCE_AT, _CIPHERTEXT_AT = 60, 76, 88
_SALT_BYTES, _NONCE_BYTES, _GCM_TAG_BYTES = 16, 12, 16
OVERHEAD_BYTES = _CIPHERTEXT_AT + _GCM_TAG_BYTES
_MESSAGES_OF_A_SALT = 2**31
_N_CIPHERS_KEPT = 4096  # one for each process that has written what is read
_ID_AND_KEY = re.compile(r"(?:([0-9]{1,10}):)?([A-Za-z0-9+/_-]{43}=?)")
_PURPOSE = b"resumecache seal 1"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key of 256 bits and the id by which entries name it.

    Attributes:
        key_id: 4 bytes.
        key: 32 bytes.
    """

    key_id: bytes
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SealingKey:
        """Read `BASE64` or `NUMBER:BASE64`; without a number the id follows from the key.

        Raises:
            ValueError: it is neither; the message does not repeat it.
        """
        matched = _ID_AND_KEY.fullmatch(text)
        if not matched:
            raise ValueError("expected keys of 32 bytes as base64, each with a number before it and a colon or without")
        number, encoded = matched.groups()
        key = base64.urlsafe_b64decode(encoded.rstrip("=").replace("+", "-").replace("/", "_") + "=")
        return cls(_derived_id(key) if number is None else _given_id(int(number)), key)


def parse_keys(texts: Iterable[str]) -> tuple[SealingKey, ...]:
    """Read keys, the newest first.

    Raises:
        ValueError: one cannot be read, or two have one id; the message repeats no key.
    """
    keys = tuple(map(SealingKey.parse, texts))
    if len({each.key_id for each in keys}) < len(keys):
        raise ValueError("expected keys of different ids, got two of one")
    return keys


class Keyring:
    """Seals with the newest key and opens with all.

    Args:
        keys: at least one, the newest first.
    """

    def __init__(self, keys: Sequence[SealingKey]) -> None:
        self._keys = tuple(keys)
        self._by_id = {each.key_id: each.key for each in keys}
        self._cipher = lru_cache(maxsize=_N_CIPHERS_KEPT)(self._derive)
        self._take_salt()

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and self._keys == other._keys

    @override
    def __hash__(self) -> int:
        return hash(self._keys)

    def seal(self, pairs: Sequence[tuple[str, bytes | memoryview]]) -> list[tuple[str, bytes]]:
        """Seal values, each for its Redis key."""
        key_id, salt = self._keys[0].key_id, self._current_salt()
        encrypt = self._cipher(key_id, salt).encrypt
        size = _NONCE_BYTES
        nonces = os.urandom(size * len(pairs))
        sealed = []
        for (key, value), start, _ in zip(pairs, range(0, len(nonces), size), self._numbers, strict=False):
            plain, nonce = bytes(value), nonces[start : start + size]
            head = readable_head(plain, key_id, OVERHEAD_BYTES)
            sealed.append((key, b"".join((head, salt, nonce, encrypt(nonce, plain, _bound_to(head, key))))))
        return sealed

    def open(self, keys: Sequence[str], values: Sequence[bytes | None]) -> list[bytes | None]:
        """Open values, each of its Redis key; what does not open becomes bytes that are no entry and say why.

        A value that was sealed with a key that is not here stays as it is: whoever reads it finds another version.
        """
        return [None if value is None else self._open(key, value) for key, value in zip(keys, values, strict=True)]

    def _open(self, key: str, value: bytes) -> bytes:
        key_id = sealing_key_id(value)
        if key_id is None:
            return SEAL_IS_MISSING
        if key_id not in self._by_id:
            return value
        head, salt, nonce = value[:_SALT_AT], value[_SALT_AT:_NONCE_AT], value[_NONCE_AT:_CIPHERTEXT_AT]
        try:
            cipher = self._cipher(key_id, salt)
            return cipher.decrypt(nonce, memoryview(value)[_CIPHERTEXT_AT:], _bound_to(head, key))
        except (InvalidTag, ValueError):  # a nonce that is cut off is a ValueError
            return SEAL_IS_BROKEN

    def _current_salt(self) -> bytes:
        if self._process_id != os.getpid() or next(self._numbers) >= _MESSAGES_OF_A_SALT:
            self._take_salt()
        return self._salt

    def _take_salt(self) -> None:
        self._process_id = os.getpid()
        self._salt = os.urandom(_SALT_BYTES)
        self._numbers = itertools.count()  # counts in C: no two threads get one number

    def _derive(self, key_id: bytes, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._by_id[key_id], _PURPOSE + salt, "sha256"))


def _bound_to(head: bytes, key: str) -> bytes:
    return head + key.encode()


def _derived_id(key: bytes) -> bytes:
    return hashlib.sha256(_PURPOSE + key).digest()[:KEY_ID_BYTES]


def _given_id(number: int) -> bytes:
    if not 0 < number < 2 ** (8 * KEY_ID_BYTES):
        raise ValueError("expected numbers of keys from 1 to 4294967295")
    return number.to_bytes(KEY_ID_BYTES, "little")
