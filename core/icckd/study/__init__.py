"""What TOML may say, as immutable values."""
