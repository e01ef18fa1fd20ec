"""What two notebooks share: data, models, training store, losses, inversion, paths, and what goes into the report."""
