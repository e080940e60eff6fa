"""The jobhall server: jobs and their workers coordinated over gRPC, and kept in SQLite."""
