"""Generated histories: what people and GitHub do to pull requests, in any order, and an oracle that watches."""
