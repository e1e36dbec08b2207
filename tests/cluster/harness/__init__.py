"""A real single-node Kubernetes for tests, in namespaces of its own on this Linux machine.

`python -m cluster.harness` is its command. Nothing of it is seen outside: `node.py` says what runs inside, `stage.py` where.
"""
