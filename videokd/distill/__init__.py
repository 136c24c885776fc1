"""Distillation losses as pure functions, and the tasks that compute one training step per stage."""
