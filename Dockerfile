# BIDS App: docker run --rm -v DATA:/data:ro -v OUT:/out bids/alps /data /out participant
FROM python:3.12-slim-bookworm AS build
COPY pyproject.toml README.md LICENSE /src/
COPY bids_alps /src/bids_alps
RUN python -m venv /opt/bids-alps \
 && /opt/bids-alps/bin/pip install --no-cache-dir --no-compile /src \
 && find /opt/bids-alps -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} + \
 && rm -rf /opt/bids-alps/lib/python3.12/site-packages/pip*

# Templates to bake in, separated by blanks; the default one comes with the program.
ARG TEMPLATES=""
ENV TEMPLATEFLOW_HOME=/opt/templateflow
RUN mkdir -p /opt/templateflow \
 && for name in ${TEMPLATES}; do /opt/bids-alps/bin/python -c "import sys; from templateflow import api; api.get(sys.argv[1], resolution=1)" "${name}"; done

FROM python:3.12-slim-bookworm
ARG VERSION="0.1.0"
LABEL org.opencontainers.image.title="bids-alps" \
      org.opencontainers.image.description="BIDS App for the DTI-ALPS index" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/bids-alps /opt/bids-alps
COPY --from=build /opt/templateflow /opt/templateflow
ENV PATH=/opt/bids-alps/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONNOUSERSITE=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    BIDS_ALPS_DOCKER_TAG="${VERSION}"
ENTRYPOINT ["bids-alps"]
