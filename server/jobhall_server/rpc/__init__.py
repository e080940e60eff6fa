"""The gRPC face: servicers that decode, call one use case and encode; the only room that knows gRPC."""
