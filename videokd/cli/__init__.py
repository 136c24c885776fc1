"""Command-line tools: parse the arguments, call the library, print."""
