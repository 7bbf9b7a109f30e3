"""How near to the wire: see `benchmarks.speed.__main__`."""
