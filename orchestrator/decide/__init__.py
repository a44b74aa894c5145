"""Pure decisions: what is, what was done and what time it is go in; what to do comes out."""
