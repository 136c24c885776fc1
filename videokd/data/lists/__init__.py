"""Annotation lists and video indexes; start reading at ``index``."""
