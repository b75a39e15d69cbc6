"""Lambda: functions as real processes under their roles."""
