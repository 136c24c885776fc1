"""Multi-view test of any model, and metrics of its predictions."""
