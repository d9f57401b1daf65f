"""Taking a model out: the dialog, and its part for an upload."""
