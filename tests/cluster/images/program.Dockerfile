# Programs that need nothing but themselves.
FROM scratch
COPY . /
USER 65532:65532
