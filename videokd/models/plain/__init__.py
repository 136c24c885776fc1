"""Builders of the libraries' own networks; these modules do not import videokd.

Export copies such a file next to a student's weights. It rebuilds the network with torch and the
library but without videokd, so that the weights load with ``strict=True``.
"""
