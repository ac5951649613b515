"""Building a frozen teacher, and what makes its forward cheap."""
