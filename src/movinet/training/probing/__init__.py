"""Linear probes: a linear layer fitted on a frozen network's embeddings."""
