"""What is known of models: cost, published weights and accuracy."""
