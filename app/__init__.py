"""CoTrain Contributor without its window: everything that runs under plain asyncio, without Qt.

The packages and modules, from the ground up; each imports only from lines above its own:

- ``common``: errors, texts, logs, paths and other basics; ``cli``: the command line
- ``lifecycle``: the lock and the child processes of one run; ``p2p``: all that speaks hivemind
- ``protocol`` (messages between app and trainer); ``spec``: what a swarm trains
- ``machine``: hardware, devices, energy, PyTorch for the GPU
- ``terms``: when this machine may train; ``trainer``: the child process that trains
- ``settings``; ``state``: the app's state, its events and their history
- ``contributions``, ``desktop``, ``swarm`` (being a member), ``tasks`` (from outside)
- ``backend`` (the CoTrain backend), ``callback`` (the local HTTP API), ``training`` (the trainers)
- ``session`` puts the parts together
- ``demo``: a local swarm of two; ``door``: a bootstrap peer, by which others join a swarm
- ``headless``: the app without a window
"""

__version__ = "0.1.0"
