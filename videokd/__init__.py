"""videokd: several video experts in, one small better student per dataset out."""

__version__ = "0.2.0"
