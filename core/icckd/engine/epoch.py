"""The code epoch: part of every stage's identity. Torch-free."""

CODE_EPOCH = 1
"""Raised by one whenever the same job yields other numbers on purpose."""
