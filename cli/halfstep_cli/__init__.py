"""The `halfstep` command. Data goes to stdout, everything else to stderr."""
