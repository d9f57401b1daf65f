"""The subcommands of the command line: their arguments, and what was asked for."""
