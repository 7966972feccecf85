"""What every other package uses: configuration, errors, files, randomness, progress."""
