"""What several servers say of themselves, as one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUMS = ("n_keys", "connected_clients", "used_memory", "maxmemory", "evicted_keys", "expired_keys")
_HUMAN = ("used_memory", "maxmemory")
_STATUSES = ("aof_last_write_status", "rdb_last_bgsave_status")
_UNITS = "BKMGTP"
_STEP = 1024


def merged_info(infos: Sequence[dict[str, str]]) -> dict[str, str]:
    """What several servers say of themselves, as if they were one.

    Numbers of keys, clients and bytes are sums; a status is bad, and nothing is evicted, if it is so on any server;
    everything else is as the first server says.
    """
    merged = dict(infos[0])
    merged |= {name: str(sum(int(one.get(name, "0")) for one in infos)) for name in _SUMS if name in merged}
    merged |= {f"{name}_human": human(int(merged[name])) for name in _HUMAN if name in merged}
    merged |= {name: "err" for name in _STATUSES if any(one.get(name) == "err" for one in infos)}
    if any(one.get("maxmemory_policy") == "noeviction" for one in infos):
        merged["maxmemory_policy"] = "noeviction"
    return merged | {"n_servers": str(len(infos))}


def human(size_bytes: int) -> str:
    """A number of bytes as a server writes it: two digits after the point, and a unit."""
    if size_bytes < _STEP:
        return f"{size_bytes}B"
    power = min((size_bytes.bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{size_bytes / _STEP**power:.2f}{_UNITS[power]}"
