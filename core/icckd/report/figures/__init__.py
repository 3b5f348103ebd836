"""Figures for a paper, drawn with matplotlib (the extra `figures`), which is imported here alone."""
