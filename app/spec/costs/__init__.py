"""The parts of an estimate (`app.spec.estimate`): what a figure is made of, and the disk's."""
