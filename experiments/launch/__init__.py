"""Scripts that start one run on many devices."""
