"""The KEDA external scaler: demand in SQL on one side, gRPC answers from memory on the other."""
