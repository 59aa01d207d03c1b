"""Serve a package over HTTP: loopback only unless told otherwise, and then with a token."""
