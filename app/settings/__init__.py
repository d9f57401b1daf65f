"""The user's settings: their fields and checks, and the file that keeps them.

`settings` defines the frozen `Settings`; `loading` merges the file, the environment and the command
line into it, and saves changes; `file` reads, migrates and writes the JSON file. The app loads them
at its start, the session saves changes, and the packages above (such as `app.swarm`) read them.
Nothing in here knows what a setting does, only which values are valid.
"""
