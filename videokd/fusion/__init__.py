"""Experts' features in, one joint teacher's features out."""
