"""Measuring what the swarm's weights have learnt: on text that nobody trains on, and in samples.

`evaluator.Evaluator` says when, and reports; `measure` computes the loss, `generation` writes.
Nothing here knows the swarm: the weights are those that the model has at the moment.
"""
