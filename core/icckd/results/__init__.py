"""The read model shared by reports and screens."""
