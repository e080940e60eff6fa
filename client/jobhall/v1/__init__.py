"""Generated from `protos/jobhall/v1` by `make protos`; never edited by hand."""
