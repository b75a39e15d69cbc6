"""The maintenance mode of an ALB listener: windows, rules and their priorities."""
