"""A model without a script. Needs the extra `faker`."""
