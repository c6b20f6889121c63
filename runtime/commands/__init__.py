"""The commands of the command line, one file a command or group; each imports what it needs when it is called."""
