"""Widgets draw one value each; they know no files, no queries and no session."""
