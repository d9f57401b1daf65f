"""What this machine has and what it uses: hardware readings, devices, energy, PyTorch for the GPU.

`hardware` reads sensors; `devices` combines its readings with what the trainer's torch can use;
`energy` measures joules; `question` asks what may hang, with a deadline; `gpu_runtime` fetches
PyTorch with CUDA for a packaged app. The window, `app.terms`, `app.contributions`, `app.swarm` and
the trainer use this package. It doesn't import torch, and knows nothing of settings, swarms or
training.
"""
