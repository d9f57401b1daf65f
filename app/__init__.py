"""CoTrain Contributor without a face: everything that runs under plain asyncio."""

__version__ = "0.1.0"
