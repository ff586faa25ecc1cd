"""Training that every learner shares: the loop with exact resume, augmentation, schedules, logs."""
