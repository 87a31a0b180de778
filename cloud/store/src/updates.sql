-- Signed bundles of the gateway's program. Their bytes are parts under the upload that brought them: what no release
-- names is an upload that was cut.
CREATE TABLE releases (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    version TEXT NOT NULL,
    arch TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    upload TEXT NOT NULL,
    release TEXT NOT NULL,
    UNIQUE (tenant, version, arch)
) STRICT;

CREATE TABLE release_parts (
    upload TEXT NOT NULL,
    part INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (upload, part)
) STRICT;

-- Groups of gateways, for rollouts.
CREATE TABLE gateway_groups (
    gateway INTEGER NOT NULL PRIMARY KEY REFERENCES gateways (id),
    name TEXT NOT NULL
) STRICT;

-- What each box told of updates last.
CREATE TABLE update_reports (
    gateway INTEGER NOT NULL PRIMARY KEY REFERENCES gateways (id),
    report TEXT NOT NULL
) STRICT;

CREATE TABLE rollouts (
    tenant TEXT NOT NULL,
    number INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    rollout TEXT NOT NULL,
    PRIMARY KEY (tenant, number)
) STRICT;
