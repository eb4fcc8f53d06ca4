"""Weights: cards of the published files, download, TensorFlow checkpoints, key table, loading."""
