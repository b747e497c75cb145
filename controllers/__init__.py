"""Who chooses the next candidate: ask and tell, nothing else."""
