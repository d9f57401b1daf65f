"""The training data: from a spec's ``dataset_info`` to endless batches of tokens.

`opening.open_data` is the entrance; the training loop draws from the `batches.Batches` that it
returns. A finite source (built in, files, one https file) becomes a flat file of tokens in the
cache, of which random windows are drawn. A data set of the Hugging Face hub becomes a shuffled
stream, packed into sequences. Nothing here knows the swarm, the model, or the device.
"""
