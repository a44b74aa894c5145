"""A daemon that turns GitHub issues, pull requests and `/merge` comments into finished work."""

__version__ = "0.1.0"
