-- Configuration documents of gateways; a version is given once.
CREATE TABLE configurations (
    gateway INTEGER NOT NULL REFERENCES gateways (id),
    version INTEGER NOT NULL,
    hash TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    author TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    note TEXT NOT NULL,
    base TEXT,
    forced INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (gateway, version)
) STRICT;

-- What each box told of them last.
CREATE TABLE configuration_reports (
    gateway INTEGER NOT NULL PRIMARY KEY REFERENCES gateways (id),
    report TEXT NOT NULL
) STRICT;
