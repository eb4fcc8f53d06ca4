"""Turn a model into one file that runs without PyTorch."""
