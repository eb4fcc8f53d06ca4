"""Engines that run a model on decoded frames, behind one small protocol."""

from movinet.runtime.base import ModelInfo, Runtime, Stream

__all__ = ["ModelInfo", "Runtime", "Stream"]
