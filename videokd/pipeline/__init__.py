"""The whole experiment: the stages in order, what they leave on disk, and the page about it."""
