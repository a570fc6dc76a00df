"""Other tools' files: read and written from their formats alone, without importing their code."""
