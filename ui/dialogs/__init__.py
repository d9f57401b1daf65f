"""Windows that open beside the main one."""
