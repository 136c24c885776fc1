"""Supervised worker processes; start reading at ``supervised_pool``. Knows nothing about video."""
