"""Views of results: text and figures."""
