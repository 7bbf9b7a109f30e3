"""What several servers say of themselves, as one."""

from __future__ import annotations

import pytest

from cache.stores.merging import human, merged_info

ONE = {
    "redis_version": "7.2.4",
    "n_keys": "3",
    "connected_clients": "2",
    "used_memory": "1024",
    "used_memory_human": "1.00K",
    "maxmemory": "0",
    "maxmemory_policy": "allkeys-lru",
    "evicted_keys": "1",
    "rdb_last_bgsave_status": "ok",
}


def test_numbers_add_up() -> None:
    """Keys, clients, bytes and evictions are sums, also as a person reads them; the version is the first server's."""
    found = merged_info([ONE, ONE | {"n_keys": "4", "used_memory": "2048", "redis_version": "9"}])
    assert (found["n_keys"], found["connected_clients"], found["evicted_keys"]) == ("7", "4", "2")
    assert (found["used_memory"], found["used_memory_human"]) == ("3072", "3.00K")
    assert (found["redis_version"], found["n_servers"]) == ("7.2.4", "2")


def test_one_bad_server_makes_all_bad() -> None:
    """A failed save, or a server that evicts nothing, is seen whichever server it is."""
    found = merged_info([ONE, ONE | {"rdb_last_bgsave_status": "err", "maxmemory_policy": "noeviction"}, ONE])
    assert (found["rdb_last_bgsave_status"], found["maxmemory_policy"]) == ("err", "noeviction")
    assert merged_info([ONE, ONE])["rdb_last_bgsave_status"] == "ok"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (3 * 2**30, "3.00G"), (2**62, "4096.00P")],
)
def test_bytes_are_written_as_servers_write_them(size_bytes: int, text: str) -> None:
    """The unit is the largest of which there is at least one."""
    assert human(size_bytes) == text
