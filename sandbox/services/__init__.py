"""The AWS services, as far as they are corrected or made here: one file for each."""
