"""KEDA's messages. `externalscaler_pb2` is generated from `externalscaler.proto` by `./generate`; a test compares the two."""
