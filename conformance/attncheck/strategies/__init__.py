"""From sizes and seeds to tensors, and which sizes to try."""
