"""What a swarm trains and how: its spec, the invite that carries it, and what it will cost.

`schema` defines and checks the spec; `invite` reads and writes it as a file or link; `form` builds
it from a form; `about` is what the swarm is for; `estimate` predicts memory, disk and traffic;
`line` says what a strategy asks of a line, and which one to choose; `families` knows how the types
of models are built, and `architectures` their sizes; `sources` is what a spec takes from elsewhere.
The window, `app.swarm`, `app.tasks`, the backend's client and the trainer use it. It runs without
torch and transformers, and knows nothing of running swarms or of the settings.
"""
