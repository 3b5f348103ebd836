"""Storage that machines share: a folder, or a bucket of an object store."""
