"""What may not be shown: secrets in contexts, results, errors and logs."""
