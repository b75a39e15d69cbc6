"""The NLB switch: listeners go to the sorry page in an outage, and back."""
