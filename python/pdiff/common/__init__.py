"""Serve every other package: configuration, errors, files, randomness, progress."""
