"""A server of streams: `movinet serve` (docs/serving.md)."""
