"""The child process, the only place that trains."""
