"""The coding agents: one small Protocol, one file for each command-line program."""
