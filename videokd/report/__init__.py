"""HTML report of a run directory; start reading at ``page``. Knows no config."""
