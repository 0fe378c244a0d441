"""Traces of tests as one HTML page that opens from disk: `cases` hold the data of each test, `page` writes the file."""
