"""The outermost layer: settings, wiring, the command line."""
