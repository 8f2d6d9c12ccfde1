"""Serving: gallery -> Ray Serve -> HTTP."""
