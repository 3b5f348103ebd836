"""Append-only journals: the truth that everything else is derived from."""
