"""The only room that imports langchain_core."""
