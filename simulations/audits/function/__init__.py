"""The audit of other people's training: any aggregator or training function, given a claim and nothing else."""
