"""Submit runs to Slurm and look after them: the command `biggan-launch`. See docs/cluster.md."""
