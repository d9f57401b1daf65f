"""The subcommands of the command line: their arguments, and what was asked for.

Each module has one subcommand or a few: its options, their checks, and the frozen value that they
become; `values` has the kinds of arguments that several take. `app.cli` reads the command line with
them, and headless and the export dialog do what the values say. Nothing in here does it itself.
"""
