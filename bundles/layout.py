"""Names of the files of an artifact: written by the import, read by whoever opens a version."""

VECTORS = "vectors.npy"
IDS_NPY = "ids.npy"
IDS_ARROW = "ids.arrow"
ID_KEYS = "id_keys.npy"
ID_ROWS = "id_rows.npy"
ATTRIBUTES = "attributes.arrow"
QUERIES = "queries.npy"
KNOWN_QUERIES = "known_queries.npy"
KNOWN_ROWS = "known_rows.npy"
SAMPLED_ROWS = "sampled_rows.npy"
FEATURES = "features.arrow"
KNOWN_FEATURES = "known_features.npy"
MODEL_FOLDER = "model"
INDEX_FOLDER = "index"
MANIFEST = "manifest.json"

# What `import_items` writes.
IMPORTED = (VECTORS, IDS_NPY, IDS_ARROW, ID_KEYS, ID_ROWS, ATTRIBUTES)
