"""The machines page: all machines of the swarm in a table, their totals, and one in detail.

It shows the session's fleet, and reads it from the swarm only while the page is visible.
"""
