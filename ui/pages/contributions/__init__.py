"""The contributions page: what this machine has given, by day and by swarm, and its reports.

It reads the ledger through `ui.models.summary_model`, only while the page is visible.
"""
