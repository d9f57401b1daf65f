"""Hands what the charts show to tools that people know: TensorBoard, Trackio, Weights & Biases.

`trackers` looks every few seconds what is new (`point`) and passes it on: to an event file of
TensorBoard (`event_file`), and to a process of the user's own Python (`external`), in which
`child` calls the user's own installation of a tracker. All of it is off unless the user chooses it.
"""
