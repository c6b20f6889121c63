"""Every feature a second time, in exact arithmetic and plain loops, sharing no code with the transforms it checks."""
