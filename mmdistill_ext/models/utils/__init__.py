"""What algorithms and distillers of several methods need."""
