"""How large a query model may be."""

# Of the file. Several copies of it are in memory while it is judged and loaded.
MODEL_BYTES_MAX = 1 << 30
NODES_MAX = 100_000
# Messages of the file: nodes, attributes, tensors, names.
PARTS_MAX = 5_000_000
