"""Files that a spec pins: behind https by their hash, on the Hugging Face hub by a commit.

Data, tokenizers and weights come this way. A file is bounded before it is downloaded, verified
before it has its name in the cache, and never downloaded again. Nothing here knows what is in it.
"""
