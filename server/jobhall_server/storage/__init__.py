"""The store on SQLite, its statements compiled for PostgreSQL too: the only room that knows SQL."""
