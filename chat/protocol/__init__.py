"""Floor 0: what goes over the wire. No Django, no I/O; tested by feeding it values."""
