"""One file an engine that runs exported models."""
