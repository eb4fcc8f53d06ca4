"""The server of streams on a cluster of Ray: `movinet.ray.serve`."""

from movinet.ray.deployment import serve

__all__ = ["serve"]
