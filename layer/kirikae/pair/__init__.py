"""The addresses of a pair of instances, on the one that runs."""
