"""A Redis cache for LangChain applications."""
