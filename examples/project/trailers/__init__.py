"""A sample application that makes videos."""
