"""Looking for tasks, steps and failures: filters, words, counts, and views that are kept."""
