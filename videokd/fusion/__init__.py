"""Frozen experts' features in, one joint teacher's features out."""
