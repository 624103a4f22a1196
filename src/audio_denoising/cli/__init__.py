"""The `denoise` command: a file a command, which parses, calls the package and prints."""
