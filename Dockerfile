# Two images: medlego (the last stage), and an archive of Debian's packages for compose.yaml.
# docs/containers.md says how to build them.

FROM python:3.13.7-slim-trixie AS build
# PyTorch's index of wheels for processors alone makes the image a fraction of the size.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/medlego
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" \
    /opt/medlego/bin/pip install -c constraints.txt ".[dicomweb,serve]"

FROM debian:trixie-20250811-slim AS orthanc
# Debian keeps one version a release; the base's date says which release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends orthanc orthanc-dicomweb \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10002 --user-group --no-create-home archive \
    && install -d -o archive -g archive /var/lib/orthanc/archive
COPY containers/orthanc.json /etc/archive/orthanc.json
USER 10002:10002
VOLUME /var/lib/orthanc/archive
EXPOSE 4242 8042
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["bash", "-c", ": < /dev/tcp/127.0.0.1/8042"]
ENTRYPOINT ["/usr/sbin/Orthanc", "/etc/archive/"]

FROM python:3.13.7-slim-trixie AS medlego
COPY --from=build /opt/medlego /opt/medlego
RUN useradd --uid 10001 --user-group --no-create-home medlego \
    && install -d -o medlego -g medlego /cache /state
ENV PATH=/opt/medlego/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    HOME=/tmp \
    MEDLEGO_CACHE=/cache \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8765/health/ready', timeout=8)"]
ENTRYPOINT ["medlego"]
CMD ["serve", "/generalist", "--host", "0.0.0.0", "--port", "8765", "--token-file", "/run/secrets/medlego_token"]
