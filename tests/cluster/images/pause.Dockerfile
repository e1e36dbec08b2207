# What holds a pod's namespaces. It ignores arguments: a command that is left over would end it.
FROM scratch
COPY busybox /bin/sleep
USER 65535:65535
ENTRYPOINT ["/bin/sleep", "2147483647"]
CMD []
