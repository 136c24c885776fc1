"""Stages of one experiment, their files on disk, and the report page."""
