"""Data sets of videos: sources, checks, splits, augmentation and loading."""
