"""What is known of shapes for all sizes at once: the symbolic proof, and runs at giant sizes."""
