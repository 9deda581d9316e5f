"""A soak test: a small run is killed, damaged and resumed for a long time, and must lose nothing."""
