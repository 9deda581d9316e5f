# `egtr serve` without torch: exported models in onnxruntime, as a user without rights. docs/deployment.md shows its use.
FROM python:3.12-slim AS build
WORKDIR /source
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY configs configs
COPY projects projects
COPY egtr egtr
RUN python -m pip install --no-cache-dir build && python -m build --wheel --outdir /dist

FROM python:3.12-slim
COPY requirements-lite.txt requirements-lite-serve.txt /tmp/
# --no-deps: the wheel itself asks for all that training needs.
RUN --mount=from=build,source=/dist,target=/dist \
    python -m pip install --no-cache-dir -r /tmp/requirements-lite-serve.txt \
    && python -m pip install --no-cache-dir --no-deps /dist/*.whl \
    && useradd --create-home --uid 1000 egtr
# As a number, since Kubernetes cannot tell from a name that it is not root.
USER 1000
WORKDIR /home/egtr
# matplotlib writes its list of fonts there.
ENV MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
EXPOSE 8000
# /health answers 200 as soon as the default model is loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["egtr", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "scenes"]
