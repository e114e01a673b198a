"""What travels between the planes: Redis keys, stamps, and the only-if-newer write.

The planes share data and never code; this package is the spelling of that data. It knows Redis and
recallpb, and no one's business.
"""
