"""The devices page: a card with gauges for each device, and the choice of those that train.

It reads the hardware through the session once a second, only while the page is visible.
"""
