"""The three stories: implement an issue, review a pull request, merge a pull request."""
