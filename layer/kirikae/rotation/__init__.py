"""The target rotation: targets leave their groups, are maintained, and come back healthy."""
