# BIDS App: docker run --rm -v DATA:/data:ro -v OUT:/out bids/alps /data /out participant
ARG BASE=python:3.12.11-slim-bookworm@sha256:519591d6871b7bc437060736b9f7456b8731f1499a57e22e6c285135ae657bf7

FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY requirements-build.lock /src/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-compile --require-hashes -r /src/requirements-build.lock
COPY requirements.lock /src/
RUN python -m venv /opt/bids-alps \
 && /opt/bids-alps/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes -r /src/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY bids_alps /src/bids_alps
WORKDIR /src
RUN /opt/build/bin/hatchling build -t wheel -d /src/dist \
 && /opt/bids-alps/bin/pip install --no-cache-dir --no-compile --no-deps --no-index /src/dist/*.whl \
 && /opt/bids-alps/bin/python -c "import bids_alps; print(bids_alps.__version__)" > /src/version
# What goes is never read by the program: tests, C sources, example data, debugging symbols, type stubs (except those of
# scikit-image, which reads them at import), packages and compiled modules that only unused parts of libraries import.
# Bytecode is kept of what the program imports, since a read-only image could not write it. The import of everything
# shows that nothing needed is gone; .ci/image-test runs it.
WORKDIR /opt/bids-alps/lib/python3.12/site-packages
RUN /opt/bids-alps/bin/pip uninstall --quiet --yes h5py imageio networkx pygments tifffile trx-python \
 && rm -rf pip pip-* /opt/bids-alps/bin/pip* matplotlib/mpl-data/sample_data dipy/data/files/test_* \
 && find statsmodels/datasets skimage/data -type f -not -name '*.py*' -delete \
 && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && find . -type f -not -path './skimage/*.pyi' \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.c' -o -name '*.a' -o -name '*.js.map' \) -delete \
 && find statsmodels/tsa -name '*.so' -delete \
 && find skimage -name '*.so' -not -path '*/restoration/*' -not -path '*/_shared/*' -delete \
 && find . -name '*.so' -size +100k -not -path '*.libs/*' -exec strip --strip-unneeded {} + \
 && /opt/bids-alps/bin/python -B -c "import importlib, pkgutil, sys, bids_alps; \
[importlib.import_module(m.name) for m in pkgutil.walk_packages(bids_alps.__path__, 'bids_alps.')]; \
from skimage.restoration import unwrap_phase; \
print(*(f for m in list(sys.modules.values()) if (f := str(getattr(m, '__file__', ''))).startswith('/opt') and f.endswith('.py')), sep='\n')" \
    > /src/imported \
 && python -m compileall -q --invalidation-mode unchecked-hash -i /src/imported PIL contourpy dask distributed sqlalchemy/dialects/sqlite

# Templates to bake in, by TemplateFlow name, separated by blanks; the default one comes with the program.
ARG TEMPLATES=""
ENV TEMPLATEFLOW_HOME=/opt/templateflow
RUN mkdir -p /opt/templateflow \
 && for name in ${TEMPLATES}; do \
      /opt/bids-alps/bin/python -c "import sys; from bids_alps.io.templates import read_template; read_template(sys.argv[1])" "${name}" || exit 1; \
      /opt/bids-alps/bin/python -c "import sys; from bids_alps.io.presets import read_presets; read_presets(('alps',), template=sys.argv[1], radius_mm=None)" "${name}" \
        || echo "No transform carries the default regions to ${name}: give others by --rois."; \
    done

FROM ${BASE}
ARG VERSION="unstable"
ARG REVISION=""
LABEL org.opencontainers.image.title="bids-alps" \
      org.opencontainers.image.description="BIDS App for the DTI-ALPS index" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/bids-apps/alps" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/templateflow /opt/templateflow
COPY --from=build /opt/bids-alps /opt/bids-alps
COPY --from=build /src/version /version
ENV PATH=/opt/bids-alps/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONSAFEPATH=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    BIDS_ALPS_DOCKER_TAG="${VERSION}" \
    BIDS_ALPS_REVISION="${REVISION}"
ENTRYPOINT ["bids-alps"]
