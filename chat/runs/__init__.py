"""Floor 2: the engine. `start`, `follow` and `stop` are the only way in for every transport."""
