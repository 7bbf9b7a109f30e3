"""Pure conversions between values and the payloads of entries: vectors, LangChain generations, JSON."""
