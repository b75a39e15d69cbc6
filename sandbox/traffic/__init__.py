"""Visitors, and the load balancers' ways to a target."""
