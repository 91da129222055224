"""The operations, one file per family: public functions, plain formulas, records."""
