"""What the screen says, as plain values: no Textual, no files, no threads."""
