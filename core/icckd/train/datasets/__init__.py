"""Data sets, a file for one or for a few that are alike; every module here is a part."""
