"""Feature and score analysis of a study; start reading at ``analyse``."""
