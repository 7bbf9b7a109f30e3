"""Reading, matching and explaining resumes and job ads, on LangChain."""
