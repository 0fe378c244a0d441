"""What came before what, and virtual time."""
