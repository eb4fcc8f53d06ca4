"""Evaluation of models on data sets: metrics, accuracy over time, and a report."""
