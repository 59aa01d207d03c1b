"""A model family for Sartor that looks at mean colours only."""
