"""The store: a DuckDB projection of the journals, rebuilt from them at any time."""
