# syntax=docker/dockerfile:1.7
# The image of the chart: docker build --tag REGISTRY/faultline:VERSION .
# Base images are pinned by tag. A release should pin them by digest too (FROM image:tag@sha256:…); none could be looked up where this
# was written.

# The version is that of rust-toolchain.toml, which stays outside: the image would fetch lints and formatter for it.
FROM rust:1.95.0-slim-bookworm AS build
# What scripts/setup names, with its reasons. Debian keeps one version of each package a release, and its fixes are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends clang g++ libclang-dev libssl-dev make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# RocksDB takes a quarter of an hour on two cores: what was compiled is kept for the next build.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --locked --release --package faultline \
 && install -D --strip target/release/faultline /image/usr/local/bin/faultline \
 && install -D --mode=644 --target-directory=/image/usr/share/doc/faultline LICENSE NOTICE

FROM debian:12.12-slim
# TLS and SCRAM of librdkafka, its compression, RocksDB's C++, and the authorities that certificates are checked against.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libssl3 libstdc++6 zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /image/ /
WORKDIR /var/lib/faultline
RUN chown 65532:65532 .
LABEL org.opencontainers.image.title="Faultline" \
      org.opencontainers.image.description="Turns the reports of security scanners into one short, explained list of risks" \
      org.opencontainers.image.licenses="Apache-2.0"
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENV FAULTLINE__DATA__FOLDER=/var/lib/faultline
# The API; probes and metrics.
EXPOSE 8470 8471
ENTRYPOINT ["/usr/local/bin/faultline"]
CMD ["up"]
