"""Generate checkpoints from a run or a bank, average and export them, and write them as they are wanted."""
