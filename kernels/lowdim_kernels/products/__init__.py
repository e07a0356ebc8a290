"""Programs of small dense products: a table of records, run by one small compiled library."""
