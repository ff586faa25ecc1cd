"""Training: the losses, the loop's stage, the best epochs by four rules, and what is logged."""
