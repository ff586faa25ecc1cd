"""One folder per published emotion model; each has card.py, model.py, learner.py, README.md and, where needed, datasets.py."""
