"""What `recall demo` and the console's "Load the demo service" share: the service's spec, and its drop.

A leaf: it imports nothing of ours. Who registers the service and asks for its build is `versions.actions.demo_load`.
"""
