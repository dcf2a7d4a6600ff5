# A trained model behind HTTP; docs/serve.md has the commands that build and run it.
FROM python:3.13-slim

# Nothing is compiled: gatewright builds its kernels with the LLVM that llvmlite brings.
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# The CPU's torch; the one on PyPI brings gigabytes of CUDA.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch \
    && pip install --no-cache-dir '.[serve]'

# Kernels are stored in /tmp, and so are the rows of a request while they are read.
ENV GATEWRIGHT_CACHE=/tmp/gatewright \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# A volume that is new takes the owner of the folder.
RUN useradd --system --uid 10001 --no-create-home server \
    && install -d -o server -m 700 /states
USER server
WORKDIR /
VOLUME /states
EXPOSE 8000

HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=2)"]

# The token comes from the environment: GATEWRIGHT_TOKEN. SIGTERM saves the streams.
STOPSIGNAL SIGTERM
ENTRYPOINT ["gatewright", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
# A model without streams, such as a forecast, takes other options in place of these.
CMD ["--states", "/states"]
