"""The libraries' own networks, built by files that import nothing of videokd.

Export copies such a file beside a student's weights: whoever has torch and the library, but not
videokd, rebuilds the network from it and loads the weights with ``strict=True``.
"""
