"""CloudFormation: from the built template to resources in the account."""
