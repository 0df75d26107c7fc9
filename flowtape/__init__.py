"""The process, not the domain: command line, settings, servers, supervisor, client."""

__version__ = "0.1.0"
