"""The network: configuration, presets, layers, model and state."""
