"""The parts of an estimate (`app.spec.estimate`): what figures are made of, disk, rounds."""
