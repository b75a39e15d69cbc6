"""An AWS account on this machine: moto's backends, corrected to AWS, on one virtual clock."""
