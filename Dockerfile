# One binary for the dashboard, the bootstrap and the agent, alone in its image.
#
#   docker build -t patchbay .
#   docker run --rm patchbay --help

FROM rust:1.95-bookworm AS build
WORKDIR /src
# Dependencies first: they are built again only when they change.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN mkdir -p src tests/it \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs tests/it/main.rs
# The C library goes into the binary, which then needs no other file to run.
ENV RUSTFLAGS="-C target-feature=+crt-static"
ARG TARGETARCH
RUN if [ "$TARGETARCH" = arm64 ]; then echo aarch64-unknown-linux-gnu; else echo x86_64-unknown-linux-gnu; fi > /target
RUN cargo build --release --locked --target "$(cat /target)" \
 && rm -rf src
COPY . .
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --target "$(cat /target)" \
 && install -D "target/$(cat /target)/release/patchbay" /out/usr/bin/patchbay
# Certificates, for providers and proxies behind TLS; a place for data that any user may write to.
RUN install -D /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
 && mkdir -m 1777 /out/data /out/tmp

FROM scratch
COPY --from=build /out /
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="Patchbay" \
      org.opencontainers.image.description="Web admin dashboard for a LiteLLM proxy: models, virtual keys, and verified hot-swaps of running A2A agents" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
WORKDIR /data
ENV PATCHBAY_BIND=0.0.0.0:10950 \
    PATCHBAY_DATABASE_URL=sqlite:///data/patchbay.db \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EXPOSE 10950
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["/usr/bin/patchbay", "healthcheck"]
ENTRYPOINT ["/usr/bin/patchbay"]
CMD ["serve"]
