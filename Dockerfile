# vecload in an image with neither a shell nor a package manager, run by a user that is not root.
#
#   docker build --tag vecload .
#   docker run --rm --env PINECONE_API_KEY --volume "$PWD/corpus:/corpus:ro" --volume vecload-runs:/data \
#     vecload load /corpus --host HOST --run-dir /data/run
#
# The run directory is on a volume, so that the same command continues a run whose container went away.
# A directory of the host in place of the volume must be writable for user 65532 (or set --user).

# The Debian of the last stage, so that the binary finds the C library that it was linked with.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive a build, the binary does not stay in them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --profile dist --locked -p vecload-cli \
    && install target/dist/vecload /usr/local/bin/vecload
RUN mkdir /data

# The C library, certificates, time zones.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vecload" \
      org.opencontainers.image.description="Loads vector corpora (Parquet, JSONL) into Pinecone over gRPC" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/vecload/
COPY --from=build /usr/local/bin/vecload /usr/local/bin/vecload
COPY --from=build --chown=65532:65532 /data /data
# As a number, since Kubernetes cannot tell from a name that it is not root.
USER 65532:65532
WORKDIR /data
# The first one ends a run so that it can be continued.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/vecload"]
CMD ["--help"]
