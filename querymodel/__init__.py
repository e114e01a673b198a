"""The query model of a version: raw features in, query vectors out.

Knows `bundles` (files) and nothing else of ours, so that a build tries a model with the very code that a replica
answers with. Only `onnx_file` imports onnx, and only `session` onnxruntime.
"""
