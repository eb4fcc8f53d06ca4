"""From data sets to batches: loading, augmentation, mixing."""
