"""Readers and writers of other projects' weights."""
