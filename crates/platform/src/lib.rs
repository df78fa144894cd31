//! What functions call: proxy, records, checkpoints, metadata, logs.
