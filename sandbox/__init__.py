"""An AWS account on this machine: moto's backends, corrected to AWS, on one virtual clock."""

REGION = "ap-northeast-1"
ACCOUNT_ID = "123456789012"
