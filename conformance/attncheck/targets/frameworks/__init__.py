"""Targets that compute with NumPy, JAX or Keras, as what takes and gives torch tensors."""
