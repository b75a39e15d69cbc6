"""Services of a user that a stack protects: load balancers, instances, addresses."""
