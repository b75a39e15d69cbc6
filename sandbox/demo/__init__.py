"""The stories of `make demo`."""
