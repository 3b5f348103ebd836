"""Statistics over paired seeds: pure functions of arrays."""
