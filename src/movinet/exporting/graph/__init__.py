"""The graph of an exported network, whatever format it is written in."""
