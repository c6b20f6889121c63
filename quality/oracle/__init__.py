"""Every feature a second time, in exact arithmetic and plain loops: it shares no code with the transforms it checks."""
