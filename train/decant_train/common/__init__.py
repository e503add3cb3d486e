"""What all training shares: checkpoints, budgets, optimizers, the epoch loop, the registry of families."""
