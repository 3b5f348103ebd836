# Three images: `docker build --target light|cpu|cuda -t icckd .`, then, in the folder of a study,
# `docker run --rm -it -v "$PWD:/study" icckd plan study.toml` (cuda: with `--gpus all`).
# docs/install.md; tests/install/test_ways.py carries out each RUN in an empty environment.

FROM python:3.12-slim AS light
ENV VIRTUAL_ENV=/opt/icckd PATH=/opt/icckd/bin:$PATH LC_ALL=C.UTF-8 TERM=xterm-256color
RUN pip install --no-cache-dir uv && uv venv /opt/icckd
WORKDIR /src
COPY requirements-light.txt ./
RUN uv pip install --no-cache --no-deps --require-hashes -r requirements-light.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY icckd_tui icckd_tui
COPY studies studies
RUN uv pip install --no-cache --no-deps .
WORKDIR /study
ENTRYPOINT ["icckd"]

FROM light AS cpu
RUN uv pip install --no-cache --torch-backend=cpu "torch>=2.11,<3" "torchvision>=0.26,<1"

FROM light AS cuda
RUN uv pip install --no-cache "torch>=2.11,<3" "torchvision>=0.26,<1"
