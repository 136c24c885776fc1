"""The kinds of networks that can be an expert or a student, one file each."""
