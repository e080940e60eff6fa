"""The use cases of the service, the worker stream as a machine without I/O, and the store that they ask for."""
