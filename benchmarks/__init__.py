"""Benchmarks and the soak test: ``python -m benchmarks NAME`` in a clone. The wheel does not hold them."""
