"""What the command line and Python users share: plan, run and read a study (docs/python.md)."""
