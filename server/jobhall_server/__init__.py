"""The jobhall server: jobs and their workers coordinated over gRPC, on SQLite or PostgreSQL."""
