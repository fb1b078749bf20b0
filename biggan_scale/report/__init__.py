"""`biggan-scale report`: what a run directory holds, on one page that needs nothing else."""
