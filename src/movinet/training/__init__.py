"""Training: recipes, optimisers, the loop, and what it writes."""
