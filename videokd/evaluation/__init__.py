"""Multi-view test of any model, and the numbers made from its predictions."""
