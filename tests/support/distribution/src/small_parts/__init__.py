"""Parts for icckd."""
