# For those who have an engine; `make image` makes the same image without one (tests/support/image.sh).
# --build-arg RUST=rust:1.95-bookworm@sha256:... builds with the image that you have checked.
ARG RUST=rust:1.95-bookworm
FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN tests/support/image.sh root

FROM scratch
COPY --from=build /src/target/image/root /
USER 65532:65532
ENTRYPOINT ["/credreset"]
LABEL org.opencontainers.image.title="credreset" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Kubernetes operator: password and MFA resets as reviewed manifests, carried out at most once"
