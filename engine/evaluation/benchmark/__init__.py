"""How fast the ways to run a learner are, what they take, and how far that is from what the machine can do."""
