FROM python:3.12-slim

# The service needs no root: a user of its own, whose home is where a cache directory would go.
RUN useradd --create-home --uid 10001 resumecache
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cache cache
COPY chains chains
COPY agent agent
RUN pip install --no-cache-dir --constraint constraints.txt ".[api,local]"

USER resumecache
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["resumecache", "serve", "--host", "0.0.0.0", "--port", "8000"]
