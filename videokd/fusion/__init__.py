"""Fusion of the experts' features into the features of one joint teacher."""
