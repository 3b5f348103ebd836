"""A user's training script, read without running it, and the study file that is made from it."""
