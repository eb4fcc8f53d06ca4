"""One file a format of exported models."""
