-- Which store this is: one row. A restored backup gets a new one, so that gateways can tell it from what it was.
CREATE TABLE store (id BLOB NOT NULL) STRICT;
