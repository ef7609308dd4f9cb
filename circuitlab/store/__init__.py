"""The store of feature evidence: a folder of Parquet files with a manifest, which opens without torch."""
