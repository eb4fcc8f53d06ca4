"""Plots, and videos with their predictions drawn below."""
