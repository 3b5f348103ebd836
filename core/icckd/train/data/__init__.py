"""Images on their way from files to batches."""
