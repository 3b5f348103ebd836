"""The Textual app that shows studies live."""
