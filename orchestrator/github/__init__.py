"""Everything that speaks to GitHub's API."""
