"""Training of one stage: the only package that imports torch. Importing it alone does not."""
