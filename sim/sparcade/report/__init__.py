"""What a person reads: the terminal summary, CSV and JSON, pictures."""
