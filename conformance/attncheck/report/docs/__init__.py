"""Pages of the documentation that are made from annotations, contracts, checks and defects."""
