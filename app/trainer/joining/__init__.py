"""How a newcomer takes over the state of a swarm, and how a member gives it away.

A state is a flat list of tensors: the model's parameters, then the optimizer's statistics.
`layout` says how it looks as bytes, `donor` sends it, `plain` fetches it from plain hivemind's
peers (`app.p2p.states` from ours, and from doors), `newcomer` looks for donors and decides whether
to believe them.
A donor is believed in nothing but numbers: shapes, optimizer settings and the epoch are our own.
Nothing here knows which strategy the state belongs to, or where checkpoints are.
"""
