"""One entry as a person can look at it. Pure."""

from __future__ import annotations

from typing import Any

from cache.codecs.generations import view_generations
from cache.codecs.json import decode_json
from cache.codecs.payloads import decode_payload
from cache.codecs.rows import decode_rows
from cache.codecs.vectors import decode_vector
from cache.entry import Flag, Header, unpack_entry
from cache.keys import Kind, key_tag, parse_key

_SHOWN_NUMBERS = 4


def view_entry(key: str, raw: bytes) -> dict[str, Any]:
    """What an entry says of itself, and its value: of a vector width and first numbers, of much the size alone.

    Raises:
        InvalidKeyError: the key is not one of ours.
        EntryError: the bytes are not an entry of this key.
    """
    parsed = parse_key(key)
    if parsed.kind is Kind.EMBEDDING:
        header, vector = decode_vector(raw, key_tag(key))
        value: Any = {"width": len(vector), "first": vector[:_SHOWN_NUMBERS].tolist()}
    elif parsed.kind is Kind.CORPUS:
        header, payload = unpack_entry(raw, key_tag(key))
        n, width = decode_rows(payload).vectors.shape
        value = {"rows": n, "width": width}
    elif parsed.kind is Kind.OPENAI_RESPONSE:
        header, payload = decode_payload(raw, key_tag(key))
        value = view_generations(payload)
    else:
        header, payload = decode_payload(raw, key_tag(key))
        value = {"msgpack_bytes": len(payload)} if parsed.kind is Kind.NODE_RESULT else decode_json(payload)
    return {"kind": str(parsed.kind), "namespace": parsed.namespace, **_header(header, raw), "value": value}


def _header(header: Header, raw: bytes) -> dict[str, Any]:
    return {
        "created_s": header.created_s,
        "ttl_s": header.ttl_s,
        "made_ms": header.made_ms,
        "stored_bytes": len(raw),
        "is_compressed": bool(header.flags & Flag.GZIP),
    }
