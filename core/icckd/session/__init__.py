"""One study being run: what is missing, who trains it, what becomes of it."""
