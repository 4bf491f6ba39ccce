"""Targets: loading them, finding out how they are built and called, and calling them."""
