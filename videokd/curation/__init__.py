"""Checks, scans and conversions of whole datasets; only ``cli`` imports this package."""
