"""Studies of many trainings: search spaces, and the workers that try their points."""
