"""Pictures: read, resized, recoloured, laid out on sheets and written."""
