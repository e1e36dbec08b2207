# A shell and small tools for test pods: sh, sleep, nc, dd, tail and so on, all one static program.
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir -p -m 1777 /tmp"]
USER 65532:65532
CMD ["sh"]
