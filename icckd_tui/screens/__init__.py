"""Screens arrange widgets and turn keys into choices."""
