"""Packs: several stages of one shape trained as one model, each with the bits it has in any pack.

docs/packing.md tells which stages are packed, and what decides their bits.
"""
