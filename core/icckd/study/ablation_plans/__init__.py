"""Ablation plans in AblationBench's words: read, bound to settings, written as studies and back."""
